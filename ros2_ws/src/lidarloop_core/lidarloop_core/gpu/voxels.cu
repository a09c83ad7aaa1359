// Points -> voxels and their neighbour tables: what group_for_network (sparse/cloud.py) makes, bit by bit and in the same
// order.
//
// As on the host there is no hash table: a word of 64 bits for each (x, y) cell, one bit a layer, and the number of
// voxels in the cells before it (sparse/occupancy.py). Bits are set in any order and numbered by a prefix sum. Means
// add up in the order of points, so points are sorted by voxel, stably, before one thread adds up each voxel.

struct VoxelGrid {
  double low[3];
  double high[3];
  double size[3];
  int shape[3];  // columns, rows, layers
};

// A convolution between two grids: along x, y and z each.
struct Convolution {
  Word reached[64];  // for each layer of the source, the target's layers that have it in their window
  int kernel[3];
  int stride[3];
  int padding[3];
  int source[3];  // shapes
  int target[3];
};

static __device__ Word bit(int layer) { return (Word)1 << layer; }

// Number of bits below a layer's.
static __device__ int below(Word word, int layer) { return __popcll(word & (bit(layer) - 1)); }

// Row + 1 of the voxel at a place, 0 where it is not occupied.
static __device__ int row_at(const Word* words, const int* before, int cell, int layer) {
  Word word = words[cell];
  return (word & bit(layer)) ? before[cell] + below(word, layer) + 1 : 0;
}

// The position of each point's voxel, -1 outside the range, and its bit.
extern "C" __global__ void mark_voxels(const float* points, int columns, const VoxelGrid* grid, int* position_of_point,
                                       Word* words, int* out_of_range, int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  const float* p = points + (int64)i * columns;
  if (!is_inside(p, grid->low, grid->high)) {
    position_of_point[i] = -1;
    atomicAdd(out_of_range, 1);
    return;
  }
  int along[3];
  for (int axis = 0; axis < 3; ++axis) {
    along[axis] = cell_along(p[axis], grid->low[axis], grid->size[axis], grid->shape[axis]);
  }
  int cell = along[1] * grid->shape[0] + along[0];
  atomicOr(&words[cell], bit(along[2]));
  position_of_point[i] = cell * grid->shape[2] + along[2];
}

extern "C" __global__ void count_voxels(const Word* words, int* count, int num_cells) {
  int cell = ITEM;
  if (cell < num_cells) count[cell] = __popcll(words[cell]);
}

// The words of a strided convolution's target: the input's columns under each cell, their bits moved, or-ed.
extern "C" __global__ void stride_voxels(const Word* source, const Convolution* of, Word* words, int* count,
                                         int num_cells) {
  int cell = ITEM;
  if (cell >= num_cells) return;
  int out_row = cell / of->target[0], out_column = cell - out_row * of->target[0];
  int row = out_row * of->stride[1] - of->padding[1], column = out_column * of->stride[0] - of->padding[0];
  Word found = 0;
  for (int y = max(row, 0); y < min(row + of->kernel[1], of->source[1]); ++y) {
    for (int x = max(column, 0); x < min(column + of->kernel[0], of->source[0]); ++x) {
      for (Word rest = source[y * of->source[0] + x]; rest; rest &= rest - 1) found |= of->reached[__ffsll(rest) - 1];
    }
  }
  words[cell] = found;
  count[cell] = __popcll(found);
}

// Lists the voxels of each cell. Where there are more than the level takes, they are left out evenly in row order: of
// the first r voxels r * most / found stay, so the rows of those that stay follow without another prefix sum.
extern "C" __global__ void number_voxels(const int* num_found, int most, int layers, Word* words, int* before,
                                         int* position, int num_cells) {
  int cell = ITEM;
  if (cell >= num_cells) return;
  int64 found = *num_found, rank = before[cell];
  bool all_stay = found <= most;
  int row = all_stay ? rank : rank * most / found;
  Word stays = words[cell];
  before[cell] = row;
  for (Word rest = stays; rest; rest &= rest - 1, ++rank) {
    int layer = __ffsll(rest) - 1;
    if (all_stay || (rank + 1) * most / found > rank * most / found) {
      position[row++] = cell * layers + layer;
    } else {
      stays &= ~bit(layer);
    }
  }
  words[cell] = stays;
}

// Row + 1 of each point's voxel, 0 without one; the points in their order.
extern "C" __global__ void find_voxels(const int* position_of_point, int layers, const Word* words, const int* before,
                                       int* voxel_of_point, int* list, int* thinned, int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  list[i] = i;
  voxel_of_point[i] = 0;
  int position = position_of_point[i];
  if (position < 0) return;
  int cell = position / layers;
  voxel_of_point[i] = row_at(words, before, cell, position - cell * layers);
  if (voxel_of_point[i] == 0) atomicAdd(thinned, 1);
}

// One pass of a radix sort from the lowest digit up: counts of each digit in each chunk of the list, digit by digit ...
#define DIGIT_BITS 6
#define DIGITS (1 << DIGIT_BITS)

static __device__ int digit_of(int value, int shift) { return (value >> shift) & (DIGITS - 1); }

extern "C" __global__ void count_digits(const int* list, const int* voxel_of_point, int shift, int* count,
                                        int num_points, int num_chunks) {
  int chunk = ITEM;
  if (chunk >= num_chunks) return;
  for (int digit = 0; digit < DIGITS; ++digit) count[digit * num_chunks + chunk] = 0;
  int end = min((chunk + 1) * CHUNK, num_points);
  for (int i = chunk * CHUNK; i < end; ++i) ++count[digit_of(voxel_of_point[list[i]], shift) * num_chunks + chunk];
}

// ... their prefix sums say where each chunk puts its points of each digit. Each chunk counts up its own.
extern "C" __global__ void move_points(const int* list, const int* voxel_of_point, int shift, int* place, int* out,
                                       int num_points, int num_chunks) {
  int chunk = ITEM;
  if (chunk >= num_chunks) return;
  int end = min((chunk + 1) * CHUNK, num_points);
  for (int i = chunk * CHUNK; i < end; ++i) {
    int point = list[i];
    out[place[digit_of(voxel_of_point[point], shift) * num_chunks + chunk]++] = point;
  }
}

// The first point of each voxel in the sorted list adds up all of them, in their order, and divides.
extern "C" __global__ void average(const float* points, int columns, const int* list, const int* voxel_of_point,
                                   float* means, int num_points) {
  int first = ITEM;
  if (first >= num_points) return;
  int voxel = voxel_of_point[list[first]];
  if (voxel == 0 || (first > 0 && voxel_of_point[list[first - 1]] == voxel)) return;
  int end = first + 1;
  while (end < num_points && voxel_of_point[list[end]] == voxel) ++end;
  for (int c = 0; c < columns; ++c) {
    float sum = 0.0f;
    for (int i = first; i < end; ++i) sum += points[(int64)list[i] * columns + c];
    means[(int64)(voxel - 1) * columns + c] = sum / (float)(end - first);
  }
}

// Row + 1 in the source for each place of the kernel, 0 for no voxel. One thread for each column of the kernel over
// each row of the target: upwards through a column a voxel's row is one more than that of the voxel below it.
extern "C" __global__ void fill_table(const Word* words, const int* before, const Convolution* of, const int* position,
                                      const int* num_found, int most, int* table, int num_items) {
  int i = ITEM;
  if (i >= num_items) return;
  int num_columns = of->kernel[0] * of->kernel[1];
  int o = i / num_columns, k = i - o * num_columns;
  if (o >= min(*num_found, most)) return;
  int cell = position[o] / of->target[2], layer = position[o] - cell * of->target[2];
  int out_row = cell / of->target[0], out_column = cell - out_row * of->target[0];
  int ky = k / of->kernel[0], kx = k - ky * of->kernel[0];
  int row = out_row * of->stride[1] - of->padding[1] + ky;
  int column = out_column * of->stride[0] - of->padding[0] + kx;
  int z = layer * of->stride[2] - of->padding[2];
  Word word = 0;
  int entry = 0;
  if (0 <= row && row < of->source[1] && 0 <= column && column < of->source[0]) {
    word = words[row * of->source[0] + column];
    entry = before[row * of->source[0] + column] + below(word, max(z, 0));
  }
  Word bits = z >= 0 ? word >> z : word << -z;
  int* to = table + (int64)o * num_columns * of->kernel[2] + k;
  for (int kz = 0; kz < of->kernel[2]; ++kz, bits >>= 1) {
    bool is_occupied = bits & 1;
    entry += is_occupied;
    to[kz * num_columns] = is_occupied ? entry : 0;
  }
}

// The inverse of a strided convolution's table: row + 1 of the output that reads each row of the source at each place of
// the kernel, 0 for none. One thread for each column of the kernel over each row of the source. Output o reads a voxel
// at k where o * stride + k is its padded place.
extern "C" __global__ void fill_inverse(const Word* words, const int* before, const Convolution* of,
                                        const int* position, const int* num_found, int most, int* table,
                                        int num_items) {
  int i = ITEM;
  if (i >= num_items) return;
  int num_columns = of->kernel[0] * of->kernel[1];
  int row = i / num_columns, k = i - row * num_columns;
  if (row >= min(*num_found, most)) return;
  int cell = position[row] / of->source[2], layer = position[row] - cell * of->source[2];
  int source_row = cell / of->source[0];
  int ky = k / of->kernel[0], kx = k - ky * of->kernel[0];
  int y = source_row + of->padding[1] - ky, x = cell - source_row * of->source[0] + of->padding[0] - kx;
  int out_row = y / of->stride[1], out_column = x / of->stride[0];
  bool is_read = y >= 0 && x >= 0 && out_row * of->stride[1] == y && out_column * of->stride[0] == x &&
                 out_row < of->target[1] && out_column < of->target[0];
  int* to = table + (int64)row * num_columns * of->kernel[2] + k;
  for (int kz = 0; kz < of->kernel[2]; ++kz) {
    int z = layer + of->padding[2] - kz, out_layer = z / of->stride[2];
    bool is_read_here = is_read && z >= 0 && out_layer * of->stride[2] == z && out_layer < of->target[2];
    to[kz * num_columns] = is_read_here ? row_at(words, before, out_row * of->target[0] + out_column, out_layer) : 0;
  }
}

// Row + 1 of the voxel at each place of the grid, 0 for none; cells in row-major order, upwards in each.
extern "C" __global__ void fill_dense(const Word* words, const int* before, int layers, int* table, int num_places) {
  int place = ITEM;
  if (place >= num_places) return;
  int cell = place / layers;
  table[place] = row_at(words, before, cell, place - cell * layers);
}
