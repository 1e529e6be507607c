// BatchNorm: the moments of a batch, what it computes, and its gradients.
#pragma once

#include <algorithm>
#include <cmath>

#include "arena.h"
#include "vectors.h"

// One convolution's weights, and the BatchNorm after it.
struct Stage {
    const float *weight, *bias, *gamma, *beta;
    float *mean, *variance;  // of the batch (biased), or for evaluation the running ones
    double epsilon;
};

struct Gradients {
    float *weight, *bias, *gamma, *beta;
};

// Mean and variance of numbers that come in blocks of `block_rows`. blocks: of each its mean, and the sum of the
// squared distances from it, [block][2][stride]. (Chan, Golub & LeVeque, 1983.)
inline void combine_moments(const float* blocks, long n_blocks, long block_rows, long rows, long stride, long channels,
                            const Stage& stage) {
    for (long c = 0; c < channels; c++) {
        double total = 0, squares = 0;
        for (long b = 0; b < n_blocks; b++)
            total += double(blocks[2 * b * stride + c]) * std::min(block_rows, rows - b * block_rows);
        double mean = total / rows;
        for (long b = 0; b < n_blocks; b++) {
            const float* block = blocks + 2 * b * stride + c;
            double distance = block[0] - mean;
            squares += block[stride] + distance * distance * std::min(block_rows, rows - b * block_rows);
        }
        stage.mean[c] = mean;
        stage.variance[c] = squares / rows;
    }
}

// Take `count` values, at most TILE, into the moments of the `before` values of a block: [2][stride].
inline void add_moments(float* block, long stride, const Vector* values, long count, long before) {
    Vector mean = {}, squares = {};
#pragma GCC unroll 8
    for (long j = 0; j < count; j++) mean += values[j];
    mean *= 1.0f / count;
#pragma GCC unroll 8
    for (long j = 0; j < count; j++) squares += (values[j] - mean) * (values[j] - mean);
    if (before > 0) {
        Vector distance = mean - load(block);
        float share = float(count) / (before + count);
        mean = load(block) + distance * share;
        squares += load(block + stride) + distance * distance * (before * share);
    }
    store(block, mean);
    store(block + stride, squares);
}

// BatchNorm: (g - mean) scale + beta with scale = gamma / deviation. In this form nothing is lost where the mean is
// large.
struct Norm {
    float *mean, *scale, *beta;  // zero beyond the last channel

    Norm(Arena& arena, const Stage& stage, long channels, long stride) : mean(arena.take(3 * stride)) {
        scale = mean + stride, beta = scale + stride;
        std::fill(mean, mean + 3 * stride, 0.0f);
        for (long c = 0; c < channels; c++) {
            mean[c] = stage.mean[c];
            scale[c] = stage.gamma[c] / std::sqrt(double(stage.variance[c]) + stage.epsilon);
            beta[c] = stage.beta[c];
        }
    }

    Vector operator()(long c, Vector g) const { return (g - load(mean + c)) * load(scale + c) + load(beta + c); }
};

// How the gradient of BatchNorm's input follows from that of its output: (gradient - offset - (g - mean) slope) scale,
// and the gradients of gamma and beta. sums: of the gradient, and of gradient (g - mean), double [2][stride].
// Returns [4][stride]: scale, offset, slope, mean.
inline float* norm_gradient(Arena& arena, const Stage& stage, const double* sums, long rows, long channels, long stride,
                            const Gradients& gradients) {
    float* factors = arena.take(4 * stride);
    std::fill(factors, factors + 4 * stride, 0.0f);
    for (long c = 0; c < channels; c++) {
        double deviation = std::sqrt(double(stage.variance[c]) + stage.epsilon);
        gradients.beta[c] = sums[c];
        gradients.gamma[c] = sums[stride + c] / deviation;
        factors[c] = stage.gamma[c] / deviation;
        factors[stride + c] = sums[c] / rows;
        factors[2 * stride + c] = sums[stride + c] / (deviation * deviation * rows);
        factors[3 * stride + c] = stage.mean[c];
    }
    return factors;
}

inline Vector norm_slope(const float* factors, long stride, long c, Vector gradient, Vector g) {
    Vector centred = g - load(factors + 3 * stride + c);
    return (gradient - load(factors + stride + c) - centred * load(factors + 2 * stride + c)) * load(factors + c);
}

