// SPDX-License-Identifier: Apache-2.0
#include "app/dispatch_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

namespace braid::app {
namespace {

constexpr double kLeft = 70, kTop = 50, kWidth = 560, kHeight = 380;
constexpr const char* kColours[] = {"#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df"};

struct Axis {
  double low = 1e300, high = 0;
  void include(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  double share(double v) const { return high > low ? (std::log(v) - std::log(low)) / (std::log(high) - std::log(low)) : 0.5; }
};

std::string text_at(double x, double y, const std::string& text, const char* more = "") {
  char place[96];
  std::snprintf(place, sizeof place, "<text x='%.1f' y='%.1f' %s>", x, y, more);
  return place + text + "</text>";
}

class Plot {
 public:
  explicit Plot(const std::vector<DispatchCase>& cases) : cases_(cases) {
    for (const auto& c : cases) {
      tokens_.include(c.tokens);
      times_.include(c.seconds());
      times_.include(c.copy());
    }
  }

  std::string lines(const std::string& backend, const char* colour, int number) const {
    const std::string paint = std::string("fill='none' stroke-width='2' stroke='") + colour + "'";
    return "<path d='" + path(backend, &DispatchCase::seconds) + "' " + paint + "/><path d='" + path(backend, &DispatchCase::copy) + "' " +
           paint + " stroke-dasharray='4 4'/>" +
           text_at(kLeft + 12, kTop + 22 + 18 * number, backend, (std::string("fill='") + colour + "'").c_str());
  }

  std::string axes() const {
    std::string out;
    int last = 0;
    for (const auto& c : cases_) {
      if (c.tokens <= last) continue;
      last = c.tokens;
      out += text_at(x_of(c.tokens), kTop + kHeight + 20, std::to_string(c.tokens), "text-anchor='middle'");
    }
    for (double t = 1e-6; t < 100; t *= 10) {
      if (t < times_.low || t > times_.high) continue;
      const double y = y_of(t);
      char line[160];
      std::snprintf(line, sizeof line, "<path d='M%.0f,%.1f h%.0f' stroke='#ddd'/>", kLeft, y, kWidth);
      out += line + text_at(kLeft - 8, y + 4, t < 1e-3 ? std::to_string(std::lround(t * 1e6)) + " us" : std::to_string(std::lround(t * 1e3)) + " ms", "text-anchor='end'");
    }
    return out;
  }

 private:
  double x_of(double tokens) const { return kLeft + kWidth * tokens_.share(tokens); }
  double y_of(double t) const { return kTop + kHeight * (1 - times_.share(t)); }

  template <class Of>
  std::string path(const std::string& backend, Of of) const {
    std::string out;
    for (const auto& c : cases_) {
      if (c.backend != backend) continue;
      char point[64];
      std::snprintf(point, sizeof point, "%s%.1f,%.1f", out.empty() ? "M" : " L", x_of(c.tokens), y_of(std::invoke(of, c)));
      out += point;
    }
    return out;
  }

  const std::vector<DispatchCase>& cases_;
  Axis tokens_, times_;
};

}  // namespace

std::string dispatch_plot(const std::vector<DispatchCase>& cases, const std::string& title) {
  const Plot plot(cases);
  std::string out =
      "<svg xmlns='http://www.w3.org/2000/svg' width='660' height='480' font-family='sans-serif' font-size='13'>"
      "<rect width='660' height='480' fill='white'/>" + text_at(kLeft, 24, title, "font-weight='bold'") +
      text_at(kLeft, 42, "dispatch and combine by tokens a rank; dashed: copying the same bytes once") + plot.axes();
  std::vector<std::string> seen;
  for (const auto& c : cases) {
    if (std::find(seen.begin(), seen.end(), c.backend) != seen.end()) continue;
    const int number = static_cast<int>(seen.size());
    out += plot.lines(c.backend, kColours[seen.size() % std::size(kColours)], number);
    seen.push_back(c.backend);
  }
  return out + "</svg>\n";
}

}  // namespace braid::app
