// A whole ConvMixer layer for one batch, in as few passes over memory as its two BatchNorms allow:
//
//     a1 = depth-wise convolution of x,  g1 = GELU(a1),  z = x + BN1(g1)
//     a2 = z times matrix transposed,    g2 = GELU(a2),  out = BN2(g2)
//
// What the backward pass needs of a1 and a2 is GELU's slope there, d1 and d2, found together with its value.
// Sums over the batch are made of parts of fixed size, and the parts are added in a fixed order, in double precision:
// their bits do not depend on the number of threads.
#include "matmul.h"
#include "norm.h"
#include "passes.h"

static thread_local Arena arena;

constexpr long ROWS = 96;        // pixels that a thread takes at a time; their vectors stay in the second-level cache
constexpr long MOST_PARTS = 32;  // of the sum over the batch that is the matrix's gradient

// [n][stride] floats -> double [stride]
static void add_parts(const float* parts, long n, long part_stride, long stride, double* sums) {
    std::fill(sums, sums + stride, 0.0);
    for (long i = 0; i < n; i++)
        for (long c = 0; c < stride; c++) sums[c] += parts[i * part_stride + c];
}

static double* take_doubles(long n) { return reinterpret_cast<double*>(arena.take(2 * n)); }

// Where GELU goes in training: its value, its slope, and the moments of the values in each block of the batch,
// [block][2][stride].
struct Activation {
    float *g, *d, *moments;
    long stride, channels;

    // `count` pixels come next, `before` of the block having come before; `at` is the place of the first one's vector.
    void operator()(long block, long before, long at, long c, long lanes, Vector* values, long count) const {
#pragma GCC unroll 8
        for (long j = 0; j < count; j++, at += channels) {
            Gelu y = gelu(values[j]);
            stream(g + at, y.value, lanes);
            stream(d + at, y.slope, lanes);
            values[j] = y.value;
        }
        add_moments(moments + 2 * block * stride + c, stride, values, count, before);
    }
};

// f(r, c, at, lanes, count) for all vectors of the rows `first` to `last` of a tensor [rows][channels], `count` of
// them, at most TILE, one below the other; r is counted from `first`.
template <class F>
inline void for_tiles(const Shape& shape, long first, long last, F f) {
    for (long row = first; row < last; row += TILE)
        for (long c = 0; c < shape.channels; c += LANES) {
            long at = row * shape.channels + c, lanes = shape.channels - c;
            if (row + TILE <= last)
                f(row - first, c, at, lanes, TILE);
            else
                f(row - first, c, at, lanes, last - row);
        }
}

// f(r, c, at, lanes) for all of those vectors.
template <class F>
inline void for_rows(const Shape& shape, long first, long last, F f) {
    for (long row = first; row < last; row++)
        for (long c = 0; c < shape.channels; c += LANES)
            f(row - first, c, row * shape.channels + c, shape.channels - c);
}

// Everything that the threads need for a block of rows: blocks of [ROWS][stride], and the packed matrix.
struct Product {
    long stride;
    float *matrix, *scratch;
    long scratch_size;

    Product(const Shape& shape, const float* weight, bool transposed, long n_blocks)
        : stride(round_up(shape.channels, PANEL) + 16), scratch_size(n_blocks * ROWS * stride) {
        matrix = arena.take(round_up(shape.channels, PANEL) * shape.channels);
        pack_matrix(weight, shape.channels, shape.channels, transposed, matrix);
        scratch = arena.take(shape.threads * scratch_size);
    }

    // A thread's blocks, one after the other.
    float* block(long i) const { return scratch + omp_get_thread_num() * scratch_size + i * ROWS * stride; }
};

// z matrix^T + bias with z = input(at, c, lanes); finish(block, row, at, c, lanes, values, count) gets it, as from
// `convolve`.
template <class Input, class Finish>
static void mix_channels(const Shape& shape, const Stage& stage, Input input, Finish finish) {
    Product product(shape, stage.weight, true, 2);
    long rows = shape.rows(), n_blocks = (rows + ROWS - 1) / ROWS;
    Share blocks(n_blocks, shape.threads);
#pragma omp parallel num_threads(shape.threads)
    {
        blocks.out([&](long b) {
            float *z = product.block(0), *a = product.block(1);
            long first = b * ROWS, last = std::min(first + ROWS, rows);
            for_rows(shape, first, last, [&](long r, long c, long at, long lanes) {
                store(z + r * product.stride + c, input(at, c, lanes));
            });
            multiply(z, product.stride, last - first, shape.channels, product.matrix, shape.channels, a,
                     product.stride);
            for_tiles(shape, first, last, [&](long r, long c, long at, long lanes, long count) {
                Vector values[TILE] = {}, bias = load(stage.bias + c, lanes);
#pragma GCC unroll 8
                for (long j = 0; j < count; j++) values[j] = load(a + (r + j) * product.stride + c) + bias;
                finish(b, r, at, c, lanes, values, count);
            });
        });
        streamed();
    }
}

static void normalise(const Shape& shape, const Norm& norm, const float* g, float* out) {
    long rows = shape.rows(), n_blocks = (rows + ROWS - 1) / ROWS;
    Share blocks(n_blocks, shape.threads);
#pragma omp parallel num_threads(shape.threads)
    blocks.out([&](long b) {
        for_rows(shape, b * ROWS, std::min((b + 1) * ROWS, rows),
                 [&](long, long c, long at, long lanes) { store(out + at, norm(c, load(g + at, lanes)), lanes); });
    });
}

#define KERNEL extern "C" __attribute__((visibility("default")))

KERNEL int layer_train(const Shape* shape, const Stage* space, const Stage* channels, const float* x, float* g1,
                       float* d1, float* z, float* g2, float* d2, float* out) {
    try {
        arena.start();
        for (float* tensor : {g1, d1, z, g2, d2, out}) ask_for_large_pages(tensor, shape->rows() * shape->channels);
        long stride = shape->padded_channels(), rows = shape->rows(), n_blocks = (rows + ROWS - 1) / ROWS;
        float *moments1 = arena.take(2 * stride * shape->batch), *moments2 = arena.take(2 * stride * n_blocks);
        convolve(*shape, arena, x, space->weight, space->bias, Activation{g1, d1, moments1, stride, shape->channels});
        combine_moments(moments1, shape->batch, shape->height * shape->width, rows, stride, shape->channels, *space);
        Norm norm1(arena, *space, shape->channels, stride);
        mix_channels(
            *shape, *channels,
            [&](long at, long c, long lanes) {
                Vector sum = load(x + at, lanes) + norm1(c, load(g1 + at, lanes));
                store(z + at, sum, lanes);
                return sum;
            },
            Activation{g2, d2, moments2, stride, shape->channels});
        combine_moments(moments2, n_blocks, ROWS, rows, stride, shape->channels, *channels);
        normalise(*shape, Norm(arena, *channels, shape->channels, stride), g2, out);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

KERNEL int layer_evaluate(const Shape* shape, const Stage* space, const Stage* channels, const float* x, float* z,
                          float* out) {
    try {
        arena.start();
        for (float* tensor : {z, out}) ask_for_large_pages(tensor, shape->rows() * shape->channels);
        long stride = shape->padded_channels();
        Norm norm1(arena, *space, shape->channels, stride), norm2(arena, *channels, shape->channels, stride);
        convolve(*shape, arena, x, space->weight, space->bias,
                 [=, width = shape->channels](long, long, long at, long c, long lanes, Vector* values, long count) {
#pragma GCC unroll 8
                     for (long j = 0; j < count; j++, at += width)
                         stream(z + at, load(x + at, lanes) + norm1(c, gelu(values[j]).value), lanes);
                 });
        mix_channels(
            *shape, *channels, [&](long at, long, long lanes) { return load(z + at, lanes); },
            [=, width = shape->channels](long, long, long at, long c, long lanes, Vector* values, long count) {
                for (long j = 0; j < count; j++, at += width)
                    store(out + at, norm2(c, gelu(values[j]).value), lanes);
            });
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// Sums over the batch of a gradient and of gradient (g - mean): double [2][stride].
static double* gradient_sums(const Shape& shape, const float* gradient, const float* g, const float* mean) {
    long stride = shape.padded_channels(), rows = shape.rows(), n_blocks = (rows + ROWS - 1) / ROWS;
    float* parts = arena.take(2 * stride * n_blocks);
    Share blocks(n_blocks, shape.threads);
#pragma omp parallel num_threads(shape.threads)
    blocks.out([&](long b) {
        float* part = parts + 2 * b * stride;
        std::fill(part, part + 2 * stride, 0.0f);
        for_rows(shape, b * ROWS, std::min((b + 1) * ROWS, rows), [&](long, long c, long at, long lanes) {
            Vector slope = load(gradient + at, lanes), centred = load(g + at, lanes) - load(mean + c, lanes);
            store(part + c, load(part + c) + slope);
            store(part + stride + c, load(part + stride + c) + slope * centred);
        });
    });
    double* sums = take_doubles(2 * stride);
    add_parts(parts, n_blocks, 2 * stride, 2 * stride, sums);
    return sums;
}

// The point-wise half: from the gradient of `out` to dz, the gradient of z; returns the sums of dz for the other half.
static double* mix_channels_gradient(const Shape& shape, const Stage& stage, const float* gradient, const float* z,
                                     const float* g2, const float* d2, const float* g1, const float* mean1, float* dz,
                                     const Gradients& gradients) {
    long channels = shape.channels, stride = shape.padded_channels(), rows = shape.rows();
    const float* factors =
        norm_gradient(arena, stage, gradient_sums(shape, gradient, g2, stage.mean), rows, channels, stride, gradients);
    Product product(shape, stage.weight, false, 3);
    long n_blocks = (rows + ROWS - 1) / ROWS, blocks_of_part = std::max(4L, (n_blocks + MOST_PARTS - 1) / MOST_PARTS);
    long n_parts = (n_blocks + blocks_of_part - 1) / blocks_of_part;
    long matrix_stride = round_up(channels, PANEL), matrix_size = round_up(channels, TILE_ROWS) * matrix_stride;
    float* matrices = arena.take(n_parts * matrix_size);
    float* sums = arena.take(3 * stride * n_blocks);  // of the slope (the bias's gradient), dz, and dz (g1 - mean1)
    Share shares(n_parts, shape.threads);
#pragma omp parallel num_threads(shape.threads)
    {
        float *slopes = product.block(0), *pixels = product.block(1), *results = product.block(2);
        std::fill(slopes, slopes + product.scratch_size, 0.0f);
        shares.out([&](long part) {
            float* matrix = matrices + part * matrix_size;
            std::fill(matrix, matrix + matrix_size, 0.0f);
            for (long b = part * blocks_of_part; b < std::min((part + 1) * blocks_of_part, n_blocks); b++) {
                long first = b * ROWS, last = std::min(first + ROWS, rows);
                float* sum = sums + 3 * b * stride;
                std::fill(sum, sum + 3 * stride, 0.0f);
                for_rows(shape, first, last, [&](long r, long c, long at, long lanes) {
                    Vector slope = norm_slope(factors, stride, c, load(gradient + at, lanes), load(g2 + at, lanes)) *
                                   load(d2 + at, lanes);
                    store(slopes + r * product.stride + c, slope);
                    store(sum + c, load(sum + c) + slope);
                    store(pixels + r * product.stride + c, load(z + at, lanes));
                });
                multiply(slopes, product.stride, last - first, channels, product.matrix, channels, results,
                         product.stride);
                add_transposed_product(slopes, pixels, product.stride, last - first, channels, channels, matrix,
                                       matrix_stride);
                for_rows(shape, first, last, [&](long r, long c, long at, long lanes) {
                    Vector slope = load(results + r * product.stride + c);
                    Vector centred = load(g1 + at, lanes) - load(mean1 + c, lanes);
                    store(dz + at, slope, lanes);
                    store(sum + stride + c, load(sum + stride + c) + slope);
                    store(sum + 2 * stride + c, load(sum + 2 * stride + c) + slope * centred);
                });
            }
        });
#pragma omp barrier
#pragma omp for schedule(static)
        for (long r = 0; r < channels; r++)
            for (long c = 0; c < channels; c += LANES) {
                Vector sum = {};
                for (long part = 0; part < n_parts; part++)
                    sum += load(matrices + part * matrix_size + r * matrix_stride + c);
                store(gradients.weight + r * channels + c, sum, channels - c);
            }
    }
    double* totals = take_doubles(3 * stride);
    add_parts(sums, n_blocks, 3 * stride, 3 * stride, totals);
    for (long c = 0; c < channels; c++) gradients.bias[c] = totals[c];
    return totals + stride;
}

// The gradient of the depth-wise convolution's output.
struct ConvolutionSlope {
    const float *factors, *dz, *g1, *d1;
    long stride;

    Vector operator()(long at, long c, long lanes) const {
        return norm_slope(factors, stride, c, load(dz + at, lanes), load(g1 + at, lanes)) * load(d1 + at, lanes);
    }

    static const float* tensor() { return nullptr; }
    void fetch(long at) const { ::fetch(dz + at), ::fetch(g1 + at), ::fetch(d1 + at); }
};

KERNEL int layer_backward(const Shape* shape, const Stage* space, const Stage* channels, const float* gradient,
                          const float* x, const float* g1, const float* d1, const float* z, const float* g2,
                          const float* d2, float* dz, float* dx, const Gradients* of_space,
                          const Gradients* of_channels) {
    try {
        arena.start();
        for (float* tensor : {dz, dx}) ask_for_large_pages(tensor, shape->rows() * shape->channels);
        double* sums = mix_channels_gradient(*shape, *channels, gradient, z, g2, d2, g1, space->mean, dz, *of_channels);
        long stride = shape->padded_channels();
        const float* factors = norm_gradient(arena, *space, sums, shape->rows(), shape->channels, stride, *of_space);
        convolve_gradients(
            *shape, arena, x, space->weight, ConvolutionSlope{factors, dz, g1, d1, stride}, dz, dx, of_space->weight,
            of_space->bias);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
