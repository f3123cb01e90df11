;; The form in which a stored mail is sent, see wire-form.ts. `npm run wasm` writes wire-form-module.ts from this file.
;;
;; Sixteen octets are looked at at a time. What is read and what is written needs sixteen octets more behind it, and what is
;; read one in front of it.
(module
  ;; 64 KiB each: 256 KiB of mail, and twice that for what becomes of it
  (memory (export "memory") 13 13)
  ;; Dots that the last call has doubled.
  (global $doubled (export "doubled") (mut i32) (i32.const 0))

  ;; Whether there is a dot at the start of a line.
  (func $isStuffed (param $source i32) (result i32)
    (i32.eq (i32.load16_u (i32.sub (local.get $source) (i32.const 1))) (i32.const 0x2e0a)))

  ;; Whether octets are sent as they are stored: each LF has a CR before it and no dot behind it. Sixteen zeros are behind
  ;; them.
  (func $isPlain (param $source i32) (param $end i32) (result i32)
    (local $wrong v128)
    (if (call $isStuffed (local.get $source)) (then (return (i32.const 0))))
    (loop $more
      (local.set $wrong
        (v128.and
          (i8x16.eq (v128.load (local.get $source)) (i8x16.splat (i32.const 10)))
          (v128.or
            (i8x16.ne
              (v128.load (i32.sub (local.get $source) (i32.const 1)))
              (i8x16.splat (i32.const 13)))
            (i8x16.eq
              (v128.load (i32.add (local.get $source) (i32.const 1)))
              (i8x16.splat (i32.const 46))))))
      (if (v128.any_true (local.get $wrong)) (then (return (i32.const 0))))
      (local.set $source (i32.add (local.get $source) (i32.const 16)))
      (br_if $more (i32.lt_u (local.get $source) (local.get $end))))
    (i32.const 1))

  ;; Writes `length` octets from `source` on to `target` on: an LF without a CR before it becomes CRLF, and a dot at the
  ;; start of a line is doubled. The octet in front of `source` is the one before in the mail; an LF is in front of the
  ;; first, which starts a line too: without that, a mail that begins with a dot and CRLF would end the answer early.
  ;; Returns where the next octet goes.
  (func (export "convert") (param $source i32) (param $length i32) (param $target i32) (result i32)
    (local $end i32)
    (local $octets v128)
    (local $lineEnds i32)
    (local $step i32)
    (local.set $end (i32.add (local.get $source) (local.get $length)))
    (global.set $doubled (i32.const 0))
    ;; No line end is found in what an earlier mail has left.
    (v128.store (local.get $end) (v128.const i64x2 0 0))
    (if (call $isPlain (local.get $source) (local.get $end))
      (then
        (memory.copy (local.get $target) (local.get $source) (local.get $length))
        (return (i32.add (local.get $target) (local.get $length)))))
    (block $done
      (loop $line
        (br_if $done (i32.ge_u (local.get $source) (local.get $end)))
        (if (call $isStuffed (local.get $source))
          (then
            (i32.store8 (local.get $target) (i32.const 46))
            (local.set $target (i32.add (local.get $target) (i32.const 1)))
            (global.set $doubled (i32.add (global.get $doubled) (i32.const 1)))))
        ;; A branch, not a step that depends on what was found: that would have each step wait for the one before.
        (block $found
          (loop $more
            (local.set $octets (v128.load (local.get $source)))
            (v128.store (local.get $target) (local.get $octets))
            (local.set $lineEnds (i8x16.bitmask (i8x16.eq (local.get $octets) (i8x16.splat (i32.const 10)))))
            (br_if $found (local.get $lineEnds))
            (local.set $source (i32.add (local.get $source) (i32.const 16)))
            (local.set $target (i32.add (local.get $target) (i32.const 16)))
            (br_if $more (i32.lt_u (local.get $source) (local.get $end))))
          (return (i32.sub (local.get $target) (i32.sub (local.get $source) (local.get $end)))))
        (local.set $step (i32.ctz (local.get $lineEnds)))
        (local.set $source (i32.add (local.get $source) (local.get $step)))
        (local.set $target (i32.add (local.get $target) (local.get $step)))
        (if (i32.ne (i32.load8_u (i32.sub (local.get $source) (i32.const 1))) (i32.const 13))
          (then
            (i32.store8 (local.get $target) (i32.const 13))
            (local.set $target (i32.add (local.get $target) (i32.const 1)))))
        (i32.store8 (local.get $target) (i32.const 10))
        (local.set $source (i32.add (local.get $source) (i32.const 1)))
        (local.set $target (i32.add (local.get $target) (i32.const 1)))
        (br $line)))
    (local.get $target)))
