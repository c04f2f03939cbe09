// SPDX-License-Identifier: Apache-2.0
// A picture of lines over two axes, for results.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace braid::app {

struct PlotLine {
  std::string name;  // empty: drawn, but not in the legend
  std::vector<std::pair<double, double>> points;
  bool steps = false;   // goes level to the next point, then up or down
  bool dashed = false;
};

struct LinePlot {
  std::string title, subtitle;
  std::string x_name, y_name;
  bool logarithmic_x = false;
  std::vector<PlotLine> lines;
};

// SVG, 660 wide.
std::string draw(const LinePlot& plot);

}  // namespace braid::app
