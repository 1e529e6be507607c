// Depth-wise convolution of LANES channels, row by row.
//
// Rows of the kernel that would meet what is above or below the image are left out, and where the kernel's size is known
// so are columns. So there are no rows of zeros, and an image may be read where it lies.
#pragma once

#include <algorithm>

#include "vectors.h"

constexpr long TILE = 8;  // pixels of a row that are computed at once, each in a register

struct Plane {
    long height, width, kernel;
    long before;  // columns of zeros at the left, rows of zeros above

    long columns() const { return round_up(width, TILE) + kernel - 1; }
    // The rows of the kernel that meet the image at row y of the output: first, and one past the last.
    long first(long y) const { return std::max(0L, before - y); }
    long last(long y) const { return std::min(kernel, height + before - y); }
};

// The rows of an image, each from the column -before on. Where they lie in the tensor itself, and not in a ring, columns
// outside the image must not be read.
struct Rows {
    const float** at;  // [height]
    long stride;       // from pixel to pixel
    long block;        // from LANES channels to the next
};

// Copies of the `kernel` last rows of an image, with columns of zeros at both sides: [channels / LANES][kernel][columns]
// [LANES]. In the image the pixels of one channel lie far apart, and here close together, in the fastest cache.
struct Ring {
    Plane plane;
    float* memory;

    long block() const { return plane.kernel * plane.columns() * LANES; }
    float* row(long y) const { return memory + y % plane.kernel * plane.columns() * LANES; }
};

// weight [channels][kernel * kernel] -> packed [channels / LANES][kernel * kernel][LANES], zeros for missing channels.
inline void pack_filters(const float* weight, long channels, long taps, bool reversed, float* packed) {
    for (long block = 0; block < channels; block += LANES)
        for (long i = 0; i < taps; i++)
            for (long c = block; c < block + LANES; c++)
                *packed++ = c < channels ? weight[c * taps + (reversed ? taps - 1 - i : i)] : 0.0f;
}

// f(pixel, j, kx) for the pixels row[FROM] to row[TO], and the outputs j of a tile that each meets through the tap kx.
template <long K, long FROM, long TO, class F>
inline void for_pixels(const float* row, long stride, F f) {
#pragma GCC unroll 32
    for (long i = FROM; i < TO; i++) {
        Vector pixel = load(row + i * stride);
#pragma GCC unroll 32
        for (long j = 0; j < TILE; j++)
            if (j <= i && i < j + K) f(pixel, j, i - j);
    }
}

// The same for all pixels that a tile meets, but not for those outside the image.
template <long K, class F>
inline void for_tile(const float* row, long stride, bool at_left, bool at_right, F f) {
    constexpr long BEFORE = (K - 1) / 2;
    if (!at_left) for_pixels<K, 0, BEFORE>(row, stride, f);
    for_pixels<K, BEFORE, TILE + BEFORE>(row, stride, f);
    if (!at_right) for_pixels<K, TILE + BEFORE, TILE + K - 1>(row, stride, f);
}

// sum[j] += the sum over kx of row[j + kx] * filter[kx]. K is the kernel size where the compiler knows it: then every
// pixel is read once, and the columns at the image's sides are left out.
template <long K>
inline void add_row(const float* row, long stride, const float* filter, long kernel, bool at_left, bool at_right,
                    Vector* sum) {
    if constexpr (K > 0) {
        for_tile<K>(row, stride, at_left, at_right,
                    [=](Vector pixel, long j, long kx) { sum[j] += pixel * load(filter + kx * LANES); });
    } else {
        for (long kx = 0; kx < kernel; kx++) {
            Vector tap = load(filter + kx * LANES);
#pragma GCC unroll 32
            for (long j = 0; j < TILE; j++) sum[j] += load(row + (j + kx) * stride) * tap;
        }
    }
}

// Row y of the convolution: finish(x, values, n) gets pixels x to x + n of it, n being TILE or what is left of the row.
// Of the rows' blocks of channels it takes `block`.
template <long K, class Finish>
inline void convolve_row(Plane plane, Rows rows, long block, const float* filter, long y, Finish finish) {
    long kernel = K > 0 ? K : plane.kernel, width = plane.width;
    for (long x = 0; x < width; x += TILE) {
        Vector sum[TILE] = {};
        for (long ky = plane.first(y); ky < plane.last(y); ky++)
            add_row<K>(rows.at[y + ky - plane.before] + block * rows.block + x * rows.stride, rows.stride,
                       filter + ky * kernel * LANES, kernel, x == 0, x + TILE >= width, sum);
        if (x + TILE <= width) {
            finish(x, sum, TILE);
        } else {
            Vector rest[TILE];  // so that `sum` is never indexed by a variable, and stays in registers
#pragma GCC unroll 8
            for (long j = 0; j < TILE; j++) rest[j] = sum[j];
            finish(x, rest, width - x);
        }
    }
}

// sum[kx] += the sum over x of pixels[x + kx] * slopes[x].
template <long K>
inline void add_products(const float* pixels, long stride, const float* slopes, long slopes_stride, long width,
                         long kernel, float* sum) {
    if constexpr (K > 0) {
        Vector acc[K];
#pragma GCC unroll 16
        for (long kx = 0; kx < K; kx++) acc[kx] = load(sum + kx * LANES);
        for (long x = 0; x < width; x += TILE, pixels += TILE * stride, slopes += TILE * slopes_stride) {
            Vector tile[TILE];
#pragma GCC unroll 8
            for (long j = 0; j < TILE; j++) tile[j] = load(slopes + j * slopes_stride);
            for_tile<K>(pixels, stride, x == 0, x + TILE >= width,
                        [&](Vector pixel, long j, long kx) { acc[kx] += pixel * tile[j]; });
        }
#pragma GCC unroll 16
        for (long kx = 0; kx < K; kx++) store(sum + kx * LANES, acc[kx]);
    } else {
        for (long kx = 0; kx < kernel; kx++) {
            Vector acc[4] = {load(sum + kx * LANES)};
            for (long x = 0; x < width; x += 4)
#pragma GCC unroll 4
                for (long j = 0; j < 4; j++)
                    acc[j] += load(pixels + (x + j + kx) * stride) * load(slopes + (x + j) * slopes_stride);
            store(sum + kx * LANES, (acc[0] + acc[1]) + (acc[2] + acc[3]));
        }
    }
}

// filter_gradient [kernel * kernel][LANES] += what row y of the output's gradient, `slopes`, contributes.
template <long K>
inline void add_filter_gradient(Plane plane, Rows rows, long block, const float* slopes, long slopes_stride, long y,
                                float* filter_gradient) {
    long kernel = K > 0 ? K : plane.kernel;
    for (long ky = plane.first(y); ky < plane.last(y); ky++)
        add_products<K>(rows.at[y + ky - plane.before] + block * rows.block, rows.stride, slopes, slopes_stride,
                        plane.width, kernel, filter_gradient + ky * kernel * LANES);
}

// sum += row[0] + ... + row[width - 1]
inline void add_up(const float* row, long stride, long width, float* sum) {
    Vector total = load(sum);
    for (long x = 0; x < width; x++) total += load(row + x * stride);
    store(sum, total);
}
