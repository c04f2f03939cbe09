// SPDX-License-Identifier: Apache-2.0
#include "app/line_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <set>
#include <sstream>

namespace braid::app {
namespace {

constexpr double kLeft = 70, kTop = 56, kWidth = 560, kHeight = 340;
constexpr const char* kColours[] = {"#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"};

double nice_step(double range) {
  const double power = std::pow(10, std::floor(std::log10(range / 5)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= range / 5) return factor * power;
  }
  return 10 * power;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

class Canvas {
 public:
  explicit Canvas(const LinePlot& plot) : plot_(plot) {
    for (const PlotLine& line : plot.lines) {
      for (const auto& [x, y] : line.points) {
        low_ = std::min(low_, x);
        high_ = std::max(high_, x);
        top_ = std::max(top_, y);
      }
    }
    if (!(top_ > 0)) top_ = 1;
    step_ = nice_step(top_);
    top_ = step_ * std::ceil(top_ / step_ - 1e-9);
  }

  std::string picture() {
    out_ << "<svg xmlns='http://www.w3.org/2000/svg' width='660' height='450' font-family='sans-serif' font-size='13'>"
            "<rect width='660' height='450' fill='white'/>";
    text(kLeft, 22, plot_.title, "font-weight='bold'");
    text(kLeft, 42, plot_.subtitle, "fill='#555'");
    axes();
    std::size_t colour = 0;
    int row = 0;
    for (const PlotLine& line : plot_.lines) {
      const char* paint = kColours[colour++ % std::size(kColours)];
      draw_line(line, paint);
      if (!line.name.empty()) text(kLeft + 12, kTop + 18 + 17 * row++, line.name, std::string("fill='") + paint + "'");
    }
    out_ << "</svg>\n";
    return out_.str();
  }

 private:
  double x_of(double x) const {
    if (high_ <= low_) return kLeft + kWidth / 2;
    const double share = plot_.logarithmic_x ? std::log(x / low_) / std::log(high_ / low_) : (x - low_) / (high_ - low_);
    return kLeft + kWidth * share;
  }
  double y_of(double y) const { return kTop + kHeight * (1 - y / top_); }

  void text(double x, double y, const std::string& words, const std::string& more) {
    out_ << "<text x='" << number(x) << "' y='" << number(y) << "' " << more << ">" << words << "</text>";
  }

  void axes() {
    for (double y = 0; y <= top_ * 1.001; y += step_) {
      out_ << "<path d='M" << kLeft << "," << number(y_of(y)) << " h" << kWidth << "' stroke='#ddd'/>";
      text(kLeft - 8, y_of(y) + 4, number(y), "text-anchor='end' font-size='11' fill='#555'");
    }
    std::set<double> marks;
    if (plot_.logarithmic_x) {
      for (const auto& point : plot_.lines.empty() ? std::vector<std::pair<double, double>>() : plot_.lines.front().points) marks.insert(point.first);
    } else if (high_ > low_) {
      const double step = nice_step(high_ - low_);
      for (double x = std::ceil(low_ / step) * step; x <= high_; x += step) marks.insert(x);
    }
    for (const double x : marks) text(x_of(x), kTop + kHeight + 18, number(x), "text-anchor='middle' font-size='11' fill='#555'");
    text(kLeft + kWidth, kTop + kHeight + 36, plot_.x_name, "text-anchor='end' fill='#555'");
    text(kLeft - 60, kTop - 4, plot_.y_name, "font-size='11' fill='#555'");
  }

  void draw_line(const PlotLine& line, const char* paint) {
    if (line.points.empty()) return;
    out_ << "<path fill='none' stroke-width='2' stroke='" << paint << "'" << (line.dashed ? " stroke-dasharray='4 4'" : "") << " d='";
    for (std::size_t i = 0; i < line.points.size(); ++i) {
      const auto& [x, y] = line.points[i];
      char place[64];
      if (line.steps && i > 0) {
        std::snprintf(place, sizeof place, " H%.1f V%.1f", x_of(x), y_of(y));
      } else {
        std::snprintf(place, sizeof place, "%s%.1f,%.1f", i == 0 ? "M" : " L", x_of(x), y_of(y));
      }
      out_ << place;
    }
    out_ << "'/>";
  }

  const LinePlot& plot_;
  std::ostringstream out_;
  double low_ = 1e300, high_ = -1e300, top_ = 0, step_ = 1;
};

}  // namespace

std::string draw(const LinePlot& plot) { return Canvas(plot).picture(); }

}  // namespace braid::app
