// Brings each point to the sweep's stamp, in place, by the pose nearest to its time: poses holds row-major matrices 3 x 4.
extern "C" __global__ void deskew(float* sweep, const float* poses, int sweep_columns, int time_column, float start_s,
                                  float per_s, int num_poses, int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  float* point = sweep + (int64)i * sweep_columns;
  int nearest = (int)((point[time_column] - start_s) * per_s + 0.5f);
  const float* pose = poses + 12 * max(min(nearest, num_poses - 1), 0);
  float x = point[0], y = point[1], z = point[2];
  for (int r = 0; r < 3; ++r) {
    const float* row = pose + 4 * r;
    point[r] = ((x * row[0] + y * row[1]) + z * row[2]) + row[3];
  }
}

// A sweep's points in the newest sweep's frame, in the model's columns. pose: row-major newest_SE3_older, 3 x 4.
// source[c] is the column of the sweep that column c is taken from, -1 for none.
extern "C" __global__ void compensate(const float* sweep, const float* pose, const int* source, int sweep_columns,
                                      int columns, int age_column, float age_s, float* out, int num_points) {
  int i = ITEM;
  if (i >= num_points) return;
  const float* in = sweep + (int64)i * sweep_columns;
  float* to = out + (int64)i * columns;
  for (int c = 0; c < columns; ++c) to[c] = source[c] < 0 ? 0.0f : in[source[c]];
  if (age_column >= 0) to[age_column] += age_s;
  float x = to[0], y = to[1], z = to[2];
  for (int r = 0; r < 3; ++r) {
    const float* row = pose + 4 * r;
    to[r] = ((x * row[0] + y * row[1]) + z * row[2]) + row[3];
  }
}
