// What all kernels share.
//
// Atomics finish in any order, so none of them decides anything: they count, take minima, set bits, and fill lists
// whose order is put right afterwards. A prefix sum is three plain kernels over chunks, without barriers, so that each
// kernel is a function of its thread's number alone and runs, thread by thread, on a CPU for tests.
//
// All sources are one text, compiled at run time for the GPU that is there (kernels.py). Every kernel takes its number
// of items last.

typedef long long int64;
typedef unsigned long long Word;

#ifndef HOST_TEST
#define ITEM (blockIdx.x * blockDim.x + threadIdx.x)
#endif

#define CHUNK 64

// Whether a point is in range; written so that NaN is outside.
static __device__ bool is_inside(const float* point, const double* low, const double* high) {
  bool inside = true;
  for (int axis = 0; axis < 3; ++axis) {
    double value = point[axis];
    inside = inside && low[axis] <= value && value < high[axis];
  }
  return inside;
}

// The cell of a value in range. A quotient just below the last edge may round up to it.
static __device__ int cell_along(float value, double low, double size, int num_cells) {
  return min((int)(((double)value - low) / size), num_cells - 1);
}

extern "C" __global__ void clear(int* values, int num_values) {
  int i = ITEM;
  if (i < num_values) values[i] = 0;
}

extern "C" __global__ void copy(const int* from, int* to, int num_values) {
  int i = ITEM;
  if (i < num_values) to[i] = from[i];
}

// Padding of rows, each so many values of four bytes: the first row again, behind the rows that are there.
extern "C" __global__ void repeat_first(int* values, int row_size, int num_rows, int num_added) {
  int i = ITEM;
  if (i >= num_added) return;
  for (int c = 0; c < row_size; ++c) values[(int64)(num_rows + i) * row_size + c] = values[c];
}

// Exclusive prefix sum of values[0 .. num), in three steps: sums of chunks, sums of chunks of those, and down again.
extern "C" __global__ void sum_chunks(const int* values, int* sums, int num_values, int num_chunks) {
  int chunk = ITEM;
  if (chunk >= num_chunks) return;
  int sum = 0;
  int end = min((chunk + 1) * CHUNK, num_values);
  for (int i = chunk * CHUNK; i < end; ++i) sum += values[i];
  sums[chunk] = sum;
}

extern "C" __global__ void scan_one(int* values, int num_values, int* total, int one) {
  if (ITEM >= one) return;
  int sum = 0;
  for (int i = 0; i < num_values; ++i) {
    int value = values[i];
    values[i] = sum;
    sum += value;
  }
  *total = sum;
}

// before[chunk]: sum of all chunks before it.
extern "C" __global__ void scan_chunks(const int* values, const int* before, int* out, int num_values, int num_chunks) {
  int chunk = ITEM;
  if (chunk >= num_chunks) return;
  int sum = before[chunk];
  int end = min((chunk + 1) * CHUNK, num_values);
  for (int i = chunk * CHUNK; i < end; ++i) {
    int value = values[i];  // out may be values
    out[i] = sum;
    sum += value;
  }
}
