# Sourced by the Makefile's recipes and the other scripts: where builds are kept and how they are linked.
# Builds live outside the clone, so that a fresh clone reuses what an earlier one compiled.
export TIDEWIRE_CACHE="${TIDEWIRE_CACHE:-$HOME/.cache/tidewire}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$TIDEWIRE_CACHE/target}"
# Cargo judges by the times of files, and by no path: what another clone compiled last would be taken for this one's.
if [ -f Cargo.lock ] && [ "$(cat "$CARGO_TARGET_DIR/clone" 2>/dev/null)" != "$PWD" ]; then
  mkdir -p "$CARGO_TARGET_DIR"
  find crates -name '*.rs' -exec touch {} +
  printf '%s\n' "$PWD" > "$CARGO_TARGET_DIR/clone"
fi
if command -v mold >/dev/null 2>&1; then
  export RUSTFLAGS="${RUSTFLAGS:--C link-arg=-fuse-ld=mold}"
fi
if command -v ccache >/dev/null 2>&1; then
  export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
  export CCACHE_DIR="${CCACHE_DIR:-$TIDEWIRE_CACHE/ccache}"
fi
# The built-in model's C++ is compiled for the machine that builds it: AVX-512 doubles its speed where there is
# any, and nothing chooses at run time. TIDEWIRE_CPU=portable leaves it at AVX2 (x86-64-v3), for an image that
# runs elsewhere. Each set is named, not left out, because a set SOURCE_DATE_EPOCH would silently drop AVX.
# Release, because ggml's loops want -O3: with debug lines on, llama-cpp-sys-2 would choose -O2 -g.
# Source this file before every cargo call: a change in these recompiles llama.cpp (3 minutes). It needs
# `cargo clean --release -p llama-cpp-sys-2` first, because its build keeps the flags that cmake was first given.
export LLAMA_LIB_PROFILE="${LLAMA_LIB_PROFILE:-Release}"
if [ "$(uname -m)" = x86_64 ]; then
  cpu_flags=" $(sed -n 's/^flags[^:]*://p' /proc/cpuinfo 2>/dev/null | head -n 1) "
  cpu_has() { # prints ON when the processor has every named set and the build is for this machine
    for set in "$@"; do case "$cpu_flags" in *" $set "*) ;; *) echo OFF; return ;; esac; done
    echo ON
  }
  if [ "${TIDEWIRE_CPU:-native}" = portable ]; then cpu_flags=" sse4_2 avx avx2 fma f16c bmi2 "; fi
  export GGML_SSE42="$(cpu_has sse4_2)" GGML_AVX="$(cpu_has avx)" GGML_AVX2="$(cpu_has avx2)"
  export GGML_FMA="$(cpu_has fma)" GGML_F16C="$(cpu_has f16c)" GGML_BMI2="$(cpu_has bmi2)"
  export GGML_AVX512="$(cpu_has avx512f avx512cd avx512vl avx512dq avx512bw)"
  export GGML_AVX512_VBMI="$(cpu_has avx512vbmi)" GGML_AVX512_VNNI="$(cpu_has avx512_vnni)"
  export GGML_AVX512_BF16="$(cpu_has avx512_bf16)" GGML_AVX_VNNI="$(cpu_has avx_vnni)"
  unset -f cpu_has
  unset cpu_flags
fi
