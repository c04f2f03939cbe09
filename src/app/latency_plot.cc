// SPDX-License-Identifier: Apache-2.0
#include "app/latency_plot.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace braid::app {
namespace {

constexpr int kPanel = 400, kHeight = 330;
constexpr int kLeft = 50, kTop = 70, kWide = 320, kTall = 200;

// The 1, 2 or 5 times a power of ten that cuts `range` into at most five.
double tick_step(double range) {
  const double least = range / 5, power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least) return factor * power;
  }
  return 10 * power;
}

std::string short_text(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

struct Point {
  double x, y;
};

class Panel {
 public:
  Panel(std::ostream& out, int index, std::vector<double> milliseconds)
      : out_(out), left_(index * kPanel + kLeft), values_(std::move(milliseconds)) {
    std::sort(values_.begin(), values_.end());
    const double longest = values_.empty() ? 1 : std::max(percentile(values_, 99.5), 1e-3);
    step_ = tick_step(longest);
    range_ = step_ * std::ceil(longest / step_);
  }

  void title(const char* title) {
    out_ << "<text x='" << left_ << "' y='26' font-weight='bold'>" << title << "</text><text x='" << left_ << "' y='48' fill='#555'>";
    if (values_.empty()) out_ << "no samples";
    else for (const int p : {50, 90, 99}) out_ << (p > 50 ? ", " : "") << "p" << p << " " << percentile(values_, p) << " ms";
    out_ << "</text>\n";
  }

  void grid() {
    for (double t = 0; t <= range_ * 1.001; t += step_) {
      line({x(t), kTop}, {x(t), kTop + kTall});
      label({x(t), kTop + kTall + 18}, "middle", short_text(t) + " ms");
    }
    for (int share = 0; share <= 100; share += 25) {
      line({x(0), y(share)}, {x(range_), y(share)});
      label({x(0) - 6, y(share) + 4}, "end", short_text(share) + " %");
    }
  }

  void curve() {
    if (values_.empty()) return;
    out_ << "<path fill='none' stroke='#1f6feb' stroke-width='2' d='M" << left_ << "," << kTop + kTall;
    for (int share = 0; share <= 200; ++share) {
      const double value = values_[std::min(values_.size() - 1, values_.size() * static_cast<std::size_t>(share) / 200)];
      out_ << " L" << x(std::min(value, range_)) << "," << y(share / 2.0);
    }
    out_ << "'/>\n";
  }

 private:
  double x(double milliseconds) const { return left_ + kWide * milliseconds / range_; }
  static double y(double share) { return kTop + kTall * (1 - share / 100); }

  void line(Point from, Point to) {
    out_ << "<path stroke='#ddd' d='M" << from.x << "," << from.y << " L" << to.x << "," << to.y << "'/>";
  }
  void label(Point at, const char* anchor, const std::string& text) {
    out_ << "<text fill='#555' font-size='11' text-anchor='" << anchor << "' x='" << at.x << "' y='" << at.y << "'>" << text << "</text>\n";
  }

  std::ostream& out_;
  int left_;
  std::vector<double> values_;
  double step_ = 1, range_ = 1;
};

std::vector<double> milliseconds(std::vector<double> seconds) {
  for (double& s : seconds) s *= 1e3;
  return seconds;
}

}  // namespace

std::string latency_plot(const LoadResult& result) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 " << 3 * kPanel << " " << kHeight
      << "' font-family='sans-serif' font-size='13'>\n<rect width='100%' height='100%' fill='white'/>\n";
  const struct {
    const char* title;
    const std::vector<double>& seconds;
  } panels[] = {{"Time to first token, share of requests", result.first_token},
                {"Inter-token latency, share of tokens", result.gaps},
                {"End to end, share of requests", result.end_to_end}};
  int index = 0;
  for (const auto& [title, seconds] : panels) {
    Panel panel(out, index++, milliseconds(seconds));
    panel.title(title);
    panel.grid();
    panel.curve();
  }
  out << "</svg>\n";
  return out.str();
}

}  // namespace braid::app
