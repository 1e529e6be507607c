// Writes what the kernels compute for a few shapes to standard output, as floats, to be compared between machines.
#include <cstdio>
#include <vector>

#include "depthwise.cpp"
#define arena layer_arena  // both files have one of their own
#include "layer.cpp"

using Floats = std::vector<float>;

// The same numbers between -1 and 1 on every machine.
static Floats numbers(size_t n, unsigned seed) {
    Floats drawn(n);
    for (float& number : drawn) {
        seed = seed * 1664525u + 1013904223u;
        number = float(seed >> 8) / float(1 << 23) - 1.0f;
    }
    return drawn;
}

static void write(const Floats& values) { std::fwrite(values.data(), sizeof(float), values.size(), stdout); }

int main() {
    const long shapes[][5] = {{3, 7, 6, 37, 5}, {1, 1, 1, 1, 1}, {2, 16, 16, 64, 7}, {5, 9, 3, 20, 8}, {17, 3, 5, 33, 9}};
    for (auto [n, h, w, c, k] : shapes) {
        Shape shape{n, h, w, c, k, 2};
        size_t size = n * h * w * c;
        Floats x = numbers(size, 1), slope = numbers(size, 2), filters = numbers(c * k * k, 3), bias = numbers(c, 4);
        Floats matrix = numbers(c * c, 5), scale = numbers(c, 6), shift = numbers(c, 7);
        Floats out(size), z(size), g1(size), d1(size), g2(size), d2(size), dz(size), dx(size), dfilters(c * k * k);
        Floats dmatrix(c * c), mean1(c), mean2(c), variance1(c, 1.0f), variance2(c, 1.0f);
        Floats a(c), b(c), e(c), f(c), g(c), i(c);
        if (depthwise_forward(&shape, x.data(), filters.data(), bias.data(), out.data())) return 1;
        write(out);
        if (depthwise_backward(&shape, x.data(), filters.data(), slope.data(), dx.data(), dfilters.data(), a.data()))
            return 1;
        for (const Floats& part : {dx, dfilters, a}) write(part);
        Stage space{filters.data(), bias.data(), scale.data(), shift.data(), mean1.data(), variance1.data(), 1e-5};
        Stage channels{matrix.data(), bias.data(), scale.data(), shift.data(), mean2.data(), variance2.data(), 1e-5};
        Gradients of_space{dfilters.data(), a.data(), b.data(), e.data()};
        Gradients of_channels{dmatrix.data(), f.data(), g.data(), i.data()};
        if (layer_evaluate(&shape, &space, &channels, x.data(), z.data(), out.data())) return 1;
        write(out);
        if (n * h * w < 2) continue;  // no statistics of one value
        if (layer_train(&shape, &space, &channels, x.data(), g1.data(), d1.data(), z.data(), g2.data(), d2.data(),
                        out.data()))
            return 1;
        write(out);
        if (layer_backward(&shape, &space, &channels, slope.data(), x.data(), g1.data(), d1.data(), z.data(), g2.data(),
                           d2.data(), dz.data(), dx.data(), &of_space, &of_channels))
            return 1;
        for (const Floats& part : {dx, dfilters, a, b, e, dmatrix, f, g, i}) write(part);
    }
}
