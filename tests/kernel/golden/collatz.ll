
define internal i64 @collatz_0(i64 %n) nounwind "prefer-vector-width"="256" "no-builtins" {
entry:
  br label %b1
b1:
  %v4 = phi i64 [ %n, %entry ], [ %v21, %b20 ]
  %v5 = phi i64 [ 0, %entry ], [ %v7, %b20 ]
  %v6 = icmp ne i64 %v4, 1
  br i1 %v6, label %b2, label %b3
b2:
  %v7 = add i64 %v5, 1
  %v8 = and i64 %v4, 1
  %v9 = icmp eq i64 %v8, 0
  br i1 %v9, label %b10, label %b11
b10:
  %v13 = ashr i64 %v4, 1
  br label %b20
b11:
  br label %b12
b12:
  %v14 = icmp sgt i64 %v7, 1000
  br i1 %v14, label %b15, label %b16
b15:
  br label %b3
b16:
  br label %b17
b17:
  %v18 = mul i64 3, %v4
  %v19 = add i64 %v18, 1
  br label %b20
b20:
  %v21 = phi i64 [ %v13, %b10 ], [ %v19, %b17 ]
  br label %b1
b3:
  %v22 = phi i64 [ %v5, %b1 ], [ %v7, %b15 ]
  ret i64 %v22
}

define i64 @exported(i64 %n) nounwind {
  %r = call i64 @collatz_0(i64 %n)
  ret i64 %r
}
