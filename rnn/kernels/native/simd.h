// Vectors of W floats in the compiler's own vector types, so that one source serves every level; the
// few places where a level has an instruction of its own are marked by LEVEL_*.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define LEVEL_AVX512 1
#elif defined(__AVX2__) && defined(__FMA__)
#define LEVEL_AVX2 1
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rk {

#if LEVEL_AVX512
constexpr int W = 16;
#elif LEVEL_AVX2
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef uint16_t vh __attribute__((vector_size(W * 2)));
typedef uint8_t vb __attribute__((vector_size(W)));

#define RK_INLINE static inline __attribute__((always_inline))

RK_INLINE vf splat(float x) {
#if LEVEL_AVX512
    return (vf)_mm512_set1_ps(x);
#elif LEVEL_AVX2
    return (vf)_mm256_set1_ps(x);
#else
    return vf{x, x, x, x};
#endif
}

RK_INLINE vi splat_bits(int32_t x) {
#if LEVEL_AVX512
    return (vi)_mm512_set1_epi32(x);
#elif LEVEL_AVX2
    return (vi)_mm256_set1_epi32(x);
#else
    return vi{x, x, x, x};
#endif
}

RK_INLINE vf load(const float* p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

RK_INLINE vi load_bits(const void* p) {
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

RK_INLINE void store(float* p, vf v) { memcpy(p, &v, sizeof v); }

// The first n lanes, the rest zero; n <= W.
RK_INLINE vf load(const float* p, int n) {
    if (n == W) return load(p);
    vf v = {};
    memcpy(&v, p, (size_t)n * 4);
    return v;
}

RK_INLINE void store(float* p, vf v, int n) {
    if (n == W)
        store(p, v);
    else
        memcpy(p, &v, (size_t)n * 4);
}

RK_INLINE bool any_above(vf x, float limit) {
#if LEVEL_AVX512
    return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
#else
    for (int lane = 0; lane < W; lane++)
        if (x[lane] > limit) return true;
    return false;
#endif
}

// ---- bfloat16: the upper half of a float32 -------------------------------------------------------

typedef uint16_t bf16;

RK_INLINE bf16 to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return 0x7fc0;
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

RK_INLINE float from_bf16(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

RK_INLINE vh to_bf16(vf x) {
#if LEVEL_AVX512
    return (vh)_mm512_cvtneps_pbh((__m512)x);
#else
    vu bits = (vu)x;
    vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    rounded = x == x ? rounded : vu{} + 0x7fc0;
    return __builtin_convertvector(rounded, vh);
#endif
}

RK_INLINE vf from_bf16(vh x) { return (vf)(__builtin_convertvector(x, vu) << 16); }

RK_INLINE vf load(const bf16* p) {
    vh v;
    memcpy(&v, p, sizeof v);
    return from_bf16(v);
}

RK_INLINE void store(bf16* p, vf x) {
    vh v = to_bf16(x);
    memcpy(p, &v, sizeof v);
}

RK_INLINE vf load(const bf16* p, int n) {
    if (n == W) return load(p);
    vh v = {};
    memcpy(&v, p, (size_t)n * 2);
    return from_bf16(v);
}

RK_INLINE void store(bf16* p, vf x, int n) {
    vh v = to_bf16(x);
    memcpy(p, &v, (size_t)n * 2);
}

// ---- functions -----------------------------------------------------------------------------------
// NaN stays NaN throughout: every comparison below is false for it.

RK_INLINE vf smaller(vf a, vf b) { return a > b ? b : a; }  // NaN in a stays
RK_INLINE vf larger(vf a, vf b) { return a < b ? b : a; }

// 2^n and expm1(r) of x = n ln 2 + r with |r| <= ln 2 / 2, for |x| <= 87. The polynomial is a
// Chebyshev fit of (expm1(r) - r) / r^2, with an error under 2e-8 of exp(r).
struct Exponential {
    vf power, rest;
};

RK_INLINE Exponential exponential(vf x) {
    const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    vf shifted = x * splat(1.44269504f) + magic;
    vf n = shifted - magic;
    vf r = x - n * splat(0.693145752f);  // ln 2 in two parts, the first with few digits
    r = r - n * splat(1.42860677e-6f);
    vf q = splat(1.393365249e-3f);
    q = q * r + splat(8.363181545e-3f);
    q = q * r + splat(4.166646490e-2f);
    q = q * r + splat(1.666657697e-1f);
    q = q * r + splat(5.000000013e-1f);
    vf rest = r * r * q + r;
    vf power = (vf)(((vu)shifted << 23) + 0x3f800000u);
    return {power, rest};
}

// Exactly 0 below -87, so that infinity times a closed gate is NaN as in the equations.
RK_INLINE vf sigmoid(vf x) {
    Exponential e = exponential(smaller(larger(-x, splat(-87.0f)), splat(87.0f)));
    vf y = splat(1.0f) / (splat(1.0f) + (e.rest * e.power + e.power));
    return x < splat(-87.0f) ? splat(0.0f) : y;
}

// expm1(2x) / (expm1(2x) + 2): full relative precision near 0.
RK_INLINE vf tanh(vf x) {
    x = smaller(larger(x + x, splat(-40.0f)), splat(40.0f));
    Exponential e = exponential(x);
    vf minus_one = e.rest * e.power + (e.power - splat(1.0f));
    return minus_one / (minus_one + splat(2.0f));
}

RK_INLINE vf relu(vf x) { return x < splat(0.0f) ? splat(0.0f) : x; }

}  // namespace rk
