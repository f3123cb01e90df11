;; The form in which a stored mail is sent, see wire-form.ts. `npm run wasm` writes wire-form-module.ts from this file.
;;
;; Sixteen octets are looked at at a time. What is read and what is written needs sixteen octets more behind it, and what is
;; read one in front of it.
(module
  ;; 64 KiB each: 256 KiB of mail, and twice that for what becomes of it
  (memory (export "memory") 13 13)
  ;; Dots that the last call has doubled.
  (global $doubled (export "doubled") (mut i32) (i32.const 0))

  ;; Writes `length` octets from `source` on to `target` on: an LF without a CR before it becomes CRLF, and a dot at the
  ;; start of a line is doubled. The octet in front of `source` is the one before in the mail; an LF is in front of the
  ;; first, which starts a line too: without that, a mail that begins with a dot and CRLF would end the answer early.
  ;; Returns where the next octet goes.
  ;;
  ;; Two loops find where an octet has to be put in, each of them all such places: the first is made for lines that end in
  ;; CRLF and goes over many at a time, the second for lines that end in LF and stops at each. The one that meets the
  ;; other's line end hands over.
  (func (export "convert") (param $source i32) (param $length i32) (param $target i32) (result i32)
    (local $end i32)
    (local $octets v128)
    (local $before v128)
    (local $found i32)
    (local.set $end (i32.add (local.get $source) (local.get $length)))
    (global.set $doubled (i32.const 0))
    ;; Nothing is found in what an earlier mail has left.
    (v128.store (local.get $end) (v128.const i64x2 0 0))
    (loop $part
      ;; A branch, not a step that depends on what was found: that would have each step wait for the one before.
      (block $isFound
        (loop $more
          (local.set $octets (v128.load (local.get $source)))
          (local.set $before (v128.load (i32.sub (local.get $source) (i32.const 1))))
          (v128.store (local.get $target) (local.get $octets))
          ;; LF behind anything but CR, and a dot behind LF.
          (local.set $found
            (i8x16.bitmask
              (v128.or
                (v128.andnot
                  (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 10)))
                  (i8x16.eq (local.get $before) (i8x16.splat (i32.const 13))))
                (v128.and
                  (i8x16.eq (local.get $before) (i8x16.splat (i32.const 10)))
                  (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 46)))))))
          (br_if $isFound (local.get $found))
          (local.set $source (i32.add (local.get $source) (i32.const 16)))
          (local.set $target (i32.add (local.get $target) (i32.const 16)))
          (br_if $more (i32.lt_u (local.get $source) (local.get $end))))
        (return (i32.sub (local.get $target) (i32.sub (local.get $source) (local.get $end)))))
      (local.set $found (i32.ctz (local.get $found)))
      (local.set $source (i32.add (local.get $source) (local.get $found)))
      (local.set $target (i32.add (local.get $target) (local.get $found)))
      (if (i32.eq (i32.load8_u (local.get $source)) (i32.const 46))
        (then
          (i32.store16 (local.get $target) (i32.const 0x2e2e))
          (global.set $doubled (i32.add (global.get $doubled) (i32.const 1)))
          (local.set $source (i32.add (local.get $source) (i32.const 1)))
          (local.set $target (i32.add (local.get $target) (i32.const 2)))
          (br $part)))
      (loop $line
        ;; At an LF without CR.
        (i32.store16 (local.get $target) (i32.const 0x0a0d))
        (local.set $source (i32.add (local.get $source) (i32.const 1)))
        (local.set $target (i32.add (local.get $target) (i32.const 2)))
        (if (i32.eq (i32.load8_u (local.get $source)) (i32.const 46))
          (then
            (i32.store8 (local.get $target) (i32.const 46))
            (local.set $target (i32.add (local.get $target) (i32.const 1)))
            (global.set $doubled (i32.add (global.get $doubled) (i32.const 1)))))
        (block $isFound
          (loop $more
            (local.set $octets (v128.load (local.get $source)))
            (v128.store (local.get $target) (local.get $octets))
            (local.set $found (i8x16.bitmask (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 10)))))
            (br_if $isFound (local.get $found))
            (local.set $source (i32.add (local.get $source) (i32.const 16)))
            (local.set $target (i32.add (local.get $target) (i32.const 16)))
            (br_if $more (i32.lt_u (local.get $source) (local.get $end))))
          (return (i32.sub (local.get $target) (i32.sub (local.get $source) (local.get $end)))))
        (local.set $found (i32.ctz (local.get $found)))
        (local.set $source (i32.add (local.get $source) (local.get $found)))
        (local.set $target (i32.add (local.get $target) (local.get $found)))
        (br_if $line
          (i32.ne (i32.load8_u (i32.sub (local.get $source) (i32.const 1))) (i32.const 13))))
      ;; At an LF behind a CR: the first loop goes on with it.
      (br $part))
    (unreachable)))
