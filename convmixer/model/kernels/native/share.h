// How the threads of a parallel region share out a pass over a batch.
#pragma once

#include <omp.h>

#include <atomic>
#include <vector>

// Items 0 to n. Each thread has a part of its own, the same part of the batch in every pass: then what it wrote is in
// its own caches where it reads it, and cores may lie far apart. A thread that has done its part takes from the others'.
class Share {
public:
    Share(long n, long threads) : n(n), threads(threads), counters(threads) {
        for (long owner = 0; owner < threads; owner++) counters[owner].next = n * owner / threads;
    }

    // For every thread of the region to call: f(item) for what falls to it.
    template <class F>
    void out(F f) {
        for (long i = 0, me = omp_get_thread_num(); i < threads; i++) {
            long owner = (me + i) % threads, end = n * (owner + 1) / threads;
            for (long item; (item = counters[owner].next++) < end;) f(item);
        }
    }

private:
    struct alignas(64) Counter {  // on a cache line of its own
        std::atomic<long> next;
    };

    long n, threads;
    std::vector<Counter> counters;
};
