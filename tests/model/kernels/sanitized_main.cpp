// Drives the kernels' C interface with arrays of exactly the right size, for the sanitizers to watch.
#include <cstdio>
#include <vector>

#include "depthwise.cpp"
#define arena layer_arena  // both files have one of their own
#include "layer.cpp"

using Floats = std::vector<float>;

int main() {
    const long shapes[][5] = {{3, 7, 6, 37, 5}, {1, 1, 1, 1, 1},   {2, 16, 16, 64, 7}, {5, 9, 3, 20, 8},
                              {0, 4, 4, 16, 3}, {17, 3, 5, 33, 9}, {2, 2, 2, 100, 11}};
    for (auto [n, h, w, c, k] : shapes)
        for (long threads = 1; threads <= 3; threads++) {
            Shape shape{n, h, w, c, k, threads};
            size_t size = n * h * w * c;
            Floats x(size, 0.5f), slope(size, 0.25f), filters(c * k * k, 0.1f), matrix(c * c, 0.01f), ones(c, 1.0f);
            Floats out(size), z(size), g1(size), d1(size), g2(size), d2(size), dz(size), dx(size);
            Floats mean1(c), mean2(c), variance1(c, 1.0f), variance2(c, 1.0f), a(c), b(c), e(c), f(c), g(c), i(c);
            Floats dfilters(c * k * k), dmatrix(c * c);
            for (size_t at = 0; at < size; at++) x[at] = float(at * 7919 % 101) / 50 - 1;
            int failed = depthwise_forward(&shape, x.data(), filters.data(), ones.data(), out.data());
            failed |= depthwise_backward(&shape, x.data(), filters.data(), slope.data(), dx.data(), dfilters.data(),
                                         a.data());
            failed |=
                depthwise_backward(&shape, x.data(), filters.data(), slope.data(), nullptr, dfilters.data(), a.data());
            failed |= depthwise_backward(&shape, x.data(), filters.data(), slope.data(), dx.data(), nullptr, nullptr);
            if (n) {
                Stage space{filters.data(), ones.data(),      ones.data(), ones.data(),
                            mean1.data(),   variance1.data(), 1e-5};
                Stage channels{matrix.data(), ones.data(),      ones.data(), ones.data(),
                               mean2.data(),  variance2.data(), 1e-5};
                Gradients of_space{dfilters.data(), a.data(), b.data(), e.data()};
                Gradients of_channels{dmatrix.data(), f.data(), g.data(), i.data()};
                failed |= layer_evaluate(&shape, &space, &channels, x.data(), z.data(), out.data());
                failed |= layer_train(&shape, &space, &channels, x.data(), g1.data(), d1.data(), z.data(), g2.data(),
                                      d2.data(), out.data());
                failed |= layer_backward(&shape, &space, &channels, slope.data(), x.data(), g1.data(), d1.data(),
                                         z.data(), g2.data(), d2.data(), dz.data(), dx.data(), &of_space, &of_channels);
            }
            if (failed) return 1;
        }
    std::puts("all shapes done");
}
