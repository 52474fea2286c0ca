declare void @facula_parallel(ptr, ptr, i64, i64, i64)

define internal void @body0_4(ptr %context, i64 %lo, i64 %hi) nounwind "prefer-vector-width"="256" "no-builtins" {
entry:
  %v1 = getelementptr <8 x i64>, ptr %context, i64 0
  %v2 = load float, ptr %v1, align 64
  %v3 = getelementptr <8 x i64>, ptr %context, i64 1
  %v4 = load ptr, ptr %v3, align 64
  %v5 = getelementptr <8 x i64>, ptr %context, i64 2
  %v6 = load ptr, ptr %v5, align 64
  %v9 = icmp slt i64 %lo, %hi
  br i1 %v9, label %b7, label %b8
b7:
  %v10 = phi i64 [ %lo, %entry ], [ %v16, %b15 ]
  %v11 = getelementptr float, ptr %v6, i64 %v10
  %v12 = load float, ptr %v11, align 4
  %v13 = fmul float %v12, %v2
  %v14 = getelementptr float, ptr %v4, i64 %v10
  store float %v13, ptr %v14, align 4
  br label %b15
b15:
  %v16 = add nsw i64 %v10, 1
  %v17 = icmp slt i64 %v16, %hi
  br i1 %v17, label %b7, label %b8
b8:
  ret void
}

define internal void @scaled_0(ptr %out, ptr %x, float %a, i64 %n) nounwind "prefer-vector-width"="256" "no-builtins" {
entry:
  %v1 = alloca [3 x <8 x i64>], align 64
  %v2 = getelementptr <8 x i64>, ptr %v1, i64 0
  store float %a, ptr %v2, align 64
  %v3 = getelementptr <8 x i64>, ptr %v1, i64 1
  store ptr %out, ptr %v3, align 64
  %v4 = getelementptr <8 x i64>, ptr %v1, i64 2
  store ptr %x, ptr %v4, align 64
  call void @facula_parallel(ptr @body0_4, ptr %v1, i64 0, i64 %n, i64 4)
  ret void
}

define void @exported(ptr %out, ptr %x, float %a, i64 %n) nounwind {
  call void @scaled_0(ptr %out, ptr %x, float %a, i64 %n)
  ret void
}
