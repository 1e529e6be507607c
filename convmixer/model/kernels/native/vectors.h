// Vectors of floats, and GELU on them.
//
// VECTOR_BYTES is the width of a register of the instruction set that this is compiled for; the compiler's vector
// extensions turn the arithmetic below into its instructions, with fused multiply-adds where it has them.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE__)
#include <immintrin.h>
#endif

constexpr long LANES = VECTOR_BYTES / 4;

using Vector = float __attribute__((vector_size(VECTOR_BYTES)));
using Integers = int32_t __attribute__((vector_size(VECTOR_BYTES)));
using UnalignedVector = float __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

inline long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

inline Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }

inline void store(float* to, Vector v) { *reinterpret_cast<UnalignedVector*>(to) = v; }

// The first n lanes; the others are zero.
inline Vector load(const float* from, long n) {
    if (n >= LANES) return load(from);
    Vector v = {};
    std::memcpy(&v, from, n * sizeof(float));
    return v;
}

inline void store(float* to, Vector v, long n) {
    if (n >= LANES) return store(to, v);
    std::memcpy(to, &v, n * sizeof(float));
}

// Past the caches, if it is a whole line of them: parts of lines would be written one by one, which takes longer.
inline void stream(float* to, Vector v, long n) {
#if defined(__SSE__) && VECTOR_BYTES == 64
    if (n >= LANES && reinterpret_cast<uintptr_t>(to) % VECTOR_BYTES == 0) return _mm512_stream_ps(to, v);
#endif
    store(to, v, n);
}

// Makes what was streamed visible to other threads.
inline void streamed() {
#if defined(__SSE__)
    _mm_sfence();
#endif
}

// 2^x for x <= 0; below 2^-126 it stays there. Relative error 1e-7.
inline Vector exp2_of_negative(Vector x) {
    x = x < -126.0f ? Vector{} - 126.0f : x;
    const float round = 12582912.0f;  // 1.5 * 2^23: adding it moves the whole part into the last bits
    Vector shifted = x + round;
    Vector f = x - (shifted - round);  // -1/2 to 1/2
    // The polynomial of least largest relative error there (Lawson's algorithm), 2e-9.
    Vector p = f * 0.000153458124f + 0.00133999321f;
    p = p * f + 0.00961848907f;
    p = p * f + 0.0555032864f;
    p = p * f + 0.240226462f;
    p = p * f + 0.693147182f;
    p = p * f + 1.0f;
    return reinterpret_cast<Vector>(reinterpret_cast<Integers>(p) + (reinterpret_cast<Integers>(shifted) << 23));
}

struct Gelu {
    Vector value, slope;
};

// GELU(a) = a Phi(a) and its derivative Phi(a) + a phi(a), Phi and phi being the normal distribution and its density.
//
// Phi(-|a|) = phi(a) R(t) with t = 1 / (1 + 0.32 |a|); R is the polynomial of degree 5 for which the largest error of
// phi R (|a| + 1/2) is least (Lawson's algorithm), 2.6e-8. Rounding leaves 2e-7 of Phi and 1e-7 (1 + |a|) of GELU.
inline Gelu gelu(Vector a) {
    Vector size = a < 0.0f ? -a : a;
    Vector density = exp2_of_negative(a * a * -0.7213475204f) * 0.3989422804f;  // exp(-a^2 / 2) / sqrt(2 pi)
    Vector t = 1.0f / (size * 0.32f + 1.0f);
    Vector r = t * -0.3247351944f + 1.2396745682f;
    r = r * t - 0.6607359052f;
    r = r * t + 0.7855572104f;
    r = r * t + 0.2010490596f;
    r = r * t + 0.0125042488f;
    Vector tail = density * r;
    Vector below = a < 0.0f ? tail : 1.0f - tail;
    return {a * below, a * density + below};
}
