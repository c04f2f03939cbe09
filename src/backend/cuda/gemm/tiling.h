// SPDX-License-Identifier: Apache-2.0
// The handful of shapes in which the GEMM kernel is built.
//
// A block of the grid owns a tile of `rows` x `columns` of the output. Its math warpgroups stand
// math_m x math_n over the tile; one more warpgroup feeds them through a ring of `stages`. A cluster
// of cluster_m x cluster_n blocks owns neighbouring tiles: blocks beside each other in m share the
// weights, those in n the activations, each loading its part for all.
#pragma once

namespace braid::cuda {

// How adding up the products of e4m3 is kept from holding up the tensor cores (bf16 needs nothing).
enum class Overlap {
  kTurns,  // warpgroups multiply in turn: one adds while the others multiply
  kParts,  // a warpgroup multiplies one part of its columns while it adds the part before
};

struct Tiling {
  int rows;
  int columns;
  int math_m;
  int math_n;
  int cluster_m;
  int cluster_n;
  int stages;
  int box_rows;       // rows of activations in one load; loads past a group's end are left out
  int store_buffers;  // per warp: how many stores of 16 rows may be under way
  Overlap overlap;
  int block_cycles;   // measured on H100: cycles for 128 bytes of k, all rows and columns in use

  constexpr int cluster() const { return cluster_m * cluster_n; }
  constexpr int math_groups() const { return math_m * math_n; }
  constexpr int threads() const { return (math_groups() + 1) * 128; }
};

// Floats in one load of a tile's activation scales: the copy engine begins at multiples of 16 bytes,
// a group of ragged rows anywhere.
constexpr int scale_box(int rows) { return rows + 4; }

}  // namespace braid::cuda
