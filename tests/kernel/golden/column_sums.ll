
define internal void @column_sums_0(ptr %out, ptr %x, i64 %n) nounwind "prefer-vector-width"="256" "no-builtins" {
entry:
  %v3 = icmp slt i64 0, %n
  br i1 %v3, label %b1, label %b2
b1:
  %v4 = phi i64 [ 0, %entry ], [ %v17, %b16 ]
  %v5 = phi float [ 0x0000000000000000, %entry ], [ %v10, %b16 ]
  %v6 = phi float [ 0x0000000000000000, %entry ], [ %v15, %b16 ]
  %v7 = mul i64 %v4, 2
  %v8 = getelementptr float, ptr %x, i64 %v7
  %v9 = load float, ptr %v8, align 4
  %v10 = fadd float %v5, %v9
  %v11 = mul i64 %v4, 2
  %v12 = add i64 %v11, 1
  %v13 = getelementptr float, ptr %x, i64 %v12
  %v14 = load float, ptr %v13, align 4
  %v15 = fadd float %v6, %v14
  br label %b16
b16:
  %v17 = add nsw i64 %v4, 1
  %v18 = icmp slt i64 %v17, %n
  br i1 %v18, label %b1, label %b2
b2:
  %v19 = phi float [ 0x0000000000000000, %entry ], [ %v10, %b16 ]
  %v20 = phi float [ 0x0000000000000000, %entry ], [ %v15, %b16 ]
  store float %v19, ptr %out, align 4
  %v21 = getelementptr float, ptr %out, i64 1
  store float %v20, ptr %v21, align 4
  ret void
}

define void @exported(ptr %out, ptr %x, i64 %n) nounwind {
  call void @column_sums_0(ptr %out, ptr %x, i64 %n)
  ret void
}
