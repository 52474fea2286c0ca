declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)
declare i64 @llvm.smin.i64(i64, i64)
declare <8 x float> @llvm.masked.load.v8f32.p0(ptr, <8 x i1>, <8 x float>)
declare void @llvm.masked.store.v8f32.p0(<8 x float>, ptr, <8 x i1>)

define internal void @axpy_0(ptr %y, ptr %x, double %a, i64 %lo, i64 %hi) nounwind "prefer-vector-width"="256" "no-builtins" {
entry:
  %v1 = fptrunc double %a to float
  %v2 = insertelement <8 x float> poison, float %v1, i64 0
  %v3 = shufflevector <8 x float> %v2, <8 x float> poison, <8 x i32> zeroinitializer
  %v4 = sub i64 %hi, %lo
  %v5 = ashr i64 %v4, 3
  %v6 = mul i64 %v5, 8
  %v7 = add i64 %lo, %v6
  %v10 = icmp slt i64 %lo, %v7
  br i1 %v10, label %b8, label %b9
b8:
  %v11 = phi i64 [ %lo, %entry ], [ %v19, %b18 ]
  %v12 = getelementptr float, ptr %x, i64 %v11
  %v13 = load <8 x float>, ptr %v12, align 4
  %v14 = getelementptr float, ptr %y, i64 %v11
  %v15 = load <8 x float>, ptr %v14, align 4
  %v16 = call <8 x float> @llvm.fma.v8f32(<8 x float> %v3, <8 x float> %v13, <8 x float> %v15)
  %v17 = getelementptr float, ptr %y, i64 %v11
  store <8 x float> %v16, ptr %v17, align 4
  br label %b18
b18:
  %v19 = add nsw i64 %v11, 8
  %v20 = icmp slt i64 %v19, %v7
  br i1 %v20, label %b8, label %b9
b9:
  %v21 = icmp slt i64 %v7, %hi
  br i1 %v21, label %b22, label %b23
b22:
  %v25 = sub i64 %hi, %v7
  %v26 = call i64 @llvm.smin.i64(i64 %v25, i64 8)
  %v27 = trunc i64 %v26 to i32
  %v28 = insertelement <8 x i32> poison, i32 %v27, i64 0
  %v29 = shufflevector <8 x i32> %v28, <8 x i32> poison, <8 x i32> zeroinitializer
  %v30 = icmp slt <8 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7>, %v29
  %v31 = getelementptr float, ptr %x, i64 %v7
  %v32 = call <8 x float> @llvm.masked.load.v8f32.p0(ptr align 4 %v31, <8 x i1> %v30, <8 x float> zeroinitializer)
  %v33 = getelementptr float, ptr %y, i64 %v7
  %v34 = call <8 x float> @llvm.masked.load.v8f32.p0(ptr align 4 %v33, <8 x i1> %v30, <8 x float> zeroinitializer)
  %v35 = call <8 x float> @llvm.fma.v8f32(<8 x float> %v3, <8 x float> %v32, <8 x float> %v34)
  %v36 = getelementptr float, ptr %y, i64 %v7
  call void @llvm.masked.store.v8f32.p0(<8 x float> %v35, ptr align 4 %v36, <8 x i1> %v30)
  br label %b24
b23:
  br label %b24
b24:
  ret void
}

define void @exported(ptr %slots, i64 %lo, i64 %hi) nounwind {
  %p0 = getelementptr i64, ptr %slots, i64 0
  %s0 = load ptr, ptr %p0, align 8
  %p1 = getelementptr i64, ptr %slots, i64 1
  %s1 = load ptr, ptr %p1, align 8
  %p2 = getelementptr i64, ptr %slots, i64 2
  %s2 = load double, ptr %p2, align 8
  call void @axpy_0(ptr %s0, ptr %s1, double %s2, i64 %lo, i64 %hi)
  ret void
}
