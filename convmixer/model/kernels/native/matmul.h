// Matrix products of a block of rows, for the point-wise convolution and its gradients.
#pragma once

#include <algorithm>

#include "vectors.h"

constexpr long PANEL = 2 * LANES;                        // columns computed at once
constexpr long TILE_ROWS = VECTOR_BYTES == 64 ? 12 : 6;  // rows computed at once: as many sums as registers hold

// matrix [rows][columns] (or its transpose [columns][rows]) -> packed [columns / PANEL][rows][PANEL], zeros at the end.
inline void pack_matrix(const float* matrix, long rows, long columns, bool transposed, float* packed) {
    for (long panel = 0; panel < columns; panel += PANEL)
        for (long r = 0; r < rows; r++)
            for (long c = panel; c < panel + PANEL; c++)
                *packed++ = c >= columns ? 0.0f : transposed ? matrix[c * rows + r] : matrix[r * columns + c];
}

inline void multiply_tile(const float* a, long a_stride, long depth, const float* panel, float* out, long out_stride) {
    Vector sum[TILE_ROWS][2] = {};
    for (long k = 0; k < depth; k++) {
        Vector left = load(panel + k * PANEL), right = load(panel + k * PANEL + LANES);
#pragma GCC unroll 16
        for (long r = 0; r < TILE_ROWS; r++) {
            sum[r][0] += a[r * a_stride + k] * left;
            sum[r][1] += a[r * a_stride + k] * right;
        }
    }
#pragma GCC unroll 16
    for (long r = 0; r < TILE_ROWS; r++) {
        store(out + r * out_stride, sum[r][0]);
        store(out + r * out_stride + LANES, sum[r][1]);
    }
}

// out [rows][columns] = a [rows][depth] times the packed matrix [depth][columns]; columns are rounded up to PANEL.
// Rows are rounded up to TILE_ROWS: both arrays must have that many.
inline void multiply(const float* a, long a_stride, long rows, long depth, const float* packed, long columns,
                     float* out, long out_stride) {
    for (long r = 0; r < rows; r += TILE_ROWS)
        for (long c = 0; c < columns; c += PANEL)
            multiply_tile(a + r * a_stride, a_stride, depth, packed + c * depth, out + r * out_stride + c, out_stride);
}

// out [columns of a][columns of b] += a transposed times b, both of `rows` rows. Columns of a are rounded up to
// TILE_ROWS and those of b to PANEL: all three arrays must have that many.
inline void add_transposed_product(const float* a, const float* b, long stride, long rows, long a_columns,
                                   long b_columns, float* out, long out_stride) {
    for (long i = 0; i < a_columns; i += TILE_ROWS)
        for (long c = 0; c < b_columns; c += PANEL) {
            Vector sum[TILE_ROWS][2];
            float* tile = out + i * out_stride + c;
#pragma GCC unroll 16
            for (long r = 0; r < TILE_ROWS; r++) {
                sum[r][0] = load(tile + r * out_stride);
                sum[r][1] = load(tile + r * out_stride + LANES);
            }
            for (long m = 0; m < rows; m++) {
                Vector left = load(b + m * stride + c), right = load(b + m * stride + c + LANES);
#pragma GCC unroll 16
                for (long r = 0; r < TILE_ROWS; r++) {
                    sum[r][0] += a[m * stride + i + r] * left;
                    sum[r][1] += a[m * stride + i + r] * right;
                }
            }
#pragma GCC unroll 16
            for (long r = 0; r < TILE_ROWS; r++) {
                store(tile + r * out_stride, sum[r][0]);
                store(tile + r * out_stride + LANES, sum[r][1]);
            }
        }
}
