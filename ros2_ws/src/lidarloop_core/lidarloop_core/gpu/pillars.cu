// Points -> pillars: the same index tensors as group_pillars (pointcloud/grouping.py), bit by bit and in the same
// order.
//
// A point's place in its pillar is the number of earlier points there, and pillars, kept points and unused cells are
// numbered by prefix sums.

struct PillarGrid {
  double low[3];
  double high[3];
  double size[2];
  int columns;
  int rows;
  int max_points;
  int max_pillars;
};

// What the host reads back; everything else stays on the device.
struct PillarCounts {
  int out_of_range;
  int found;       // pillars before thinning
  int pillars;     // after it
  int points;      // kept
  int thinned;     // points left out with their pillar
};

extern "C" __global__ void clear_cells(int* first, int* members, int* filled, int num_cells) {
  int cell = ITEM;
  if (cell >= num_cells) return;
  first[cell] = 0x7fffffff;
  members[cell] = 0;
  filled[cell] = 0;
}

// The cell of each point, -1 outside the range; the first point and the number of points of each cell.
extern "C" __global__ void assign(const float* points, int columns, const PillarGrid* grid, int* cell_of_point,
                                  int* first, int* members, PillarCounts* counts, int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  const float* p = points + (int64)i * columns;
  if (!is_inside(p, grid->low, grid->high)) {
    cell_of_point[i] = -1;
    atomicAdd(&counts->out_of_range, 1);
    return;
  }
  int column = cell_along(p[0], grid->low[0], grid->size[0], grid->columns);
  int row = cell_along(p[1], grid->low[1], grid->size[1], grid->rows);
  int cell = row * grid->columns + column;
  cell_of_point[i] = cell;
  atomicMin(&first[cell], i);
  atomicAdd(&members[cell], 1);
}

extern "C" __global__ void mark_used(const int* members, int* flag, int num_cells) {
  int cell = ITEM;
  if (cell < num_cells) flag[cell] = members[cell] > 0;
}

// Where there are more pillars than the model takes, pillars are left out with their points, evenly in row-major order.
extern "C" __global__ void thin(const int* rank, const PillarGrid* grid, const PillarCounts* counts, int* kept,
                                int* members, int* kept_members, int num_cells) {
  int cell = ITEM;
  if (cell >= num_cells) return;
  int64 most = grid->max_pillars, found = counts->found, r = rank[cell];
  bool stays = members[cell] > 0 && (found <= most || (r + 1) * most / found > r * most / found);
  kept[cell] = stays;
  kept_members[cell] = stays ? members[cell] : 0;
}

// Lists the points of each kept cell, in any order, from start[cell] on; marks the first of each.
extern "C" __global__ void list_members(const int* cell_of_point, const int* kept, const int* start, const int* first,
                                        int* filled, int* list, int* is_first, PillarCounts* counts, int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  int cell = cell_of_point[i];
  is_first[i] = cell >= 0 && kept[cell] && first[cell] == i;
  if (cell < 0) return;
  if (!kept[cell]) {
    atomicAdd(&counts->thinned, 1);
    return;
  }
  list[start[cell] + atomicAdd(&filled[cell], 1)] = i;
}

// A point's place: how many earlier points its pillar has. Points whose place is beyond the pillar's are not kept.
extern "C" __global__ void place_points(const int* cell_of_point, const int* kept, const int* start, const int* members,
                                        const int* list, const PillarGrid* grid, int* place, int* is_kept,
                                        int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  int cell = cell_of_point[i];
  int found = grid->max_points;
  if (cell >= 0 && kept[cell]) {
    found = 0;
    const int* others = list + start[cell];
    for (int k = 0; k < members[cell] && found < grid->max_points; ++k) found += others[k] < i;
  }
  place[i] = found;
  is_kept[i] = found < grid->max_points;
}

// pillar_of_first and position are prefix sums over points of is_first and is_kept.
extern "C" __global__ void write_points(const float* points, int columns, const int* cell_of_point, const int* first,
                                        const int* members, const int* pillar_of_first, const int* place,
                                        const int* position, const PillarGrid* grid, float* out_points, int64* out_slot,
                                        int64* out_cell, int64* out_count, int num_points) {
  int i = ITEM;
  if (i >= num_points || place[i] >= grid->max_points) return;
  int cell = cell_of_point[i];
  int pillar = pillar_of_first[first[cell]];
  int to = position[i];
  for (int c = 0; c < columns; ++c) out_points[(int64)to * columns + c] = points[(int64)i * columns + c];
  out_slot[to] = (int64)pillar * grid->max_points + place[i];
  if (first[cell] == i) {
    out_cell[pillar] = cell;
    out_count[pillar] = min(members[cell], grid->max_points);
  }
}

// Padding to a bucket (padding.py explains why it changes nothing): cells that no pillar uses. kept_before is the prefix
// sum over cells of kept.
extern "C" __global__ void pad_cells(const int* kept, const int* kept_before, int64* out_cell, int64* out_count,
                                     int num_pillars, int num_added, int num_cells) {
  int cell = ITEM;
  if (cell >= num_cells || kept[cell]) return;
  int unused = cell - kept_before[cell];
  if (unused >= num_added) return;
  out_cell[num_pillars + unused] = cell;
  out_count[num_pillars + unused] = 1;
}
