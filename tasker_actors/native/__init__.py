"""The bridge to native code: shared libraries with the interface of `config/native/tasker_native.h` (SPEC 6)."""
