// SPDX-License-Identifier: Apache-2.0
#include "planning/cost_table.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace braid::planning {
namespace {

using Json = nlohmann::json;

constexpr double kFinest = 1.002;  // factor between rates that a fit tells apart

struct Rate {
  const char* name;
  double Rates::*value;
  double start;
};

constexpr Rate kRates[] = {
    {"step_s", &Rates::step, 20e-6},
    {"layer_s", &Rates::layer, 20e-6},
    {"bandwidth", &Rates::bandwidth, 1e12},
    {"flops", &Rates::flops, 1e14},
    {"fp8_flops", &Rates::fp8_flops, 1e14},
    {"attention_flops", &Rates::attention_flops, 1e14},
    {"cache_bandwidth", &Rates::cache_bandwidth, 1e12},
    {"row_passes", &Rates::row_passes, 20},
};

double predicted(const MeasuredStep& step, const Rates& rates) {
  return step_time(step.model, rates, {}, step.work, step.work.rows()).seconds();
}

// Squared logarithms of predicted over measured, without step `left_out`.
double misfit(const std::vector<MeasuredStep>& steps, const Rates& rates, std::size_t left_out) {
  double sum = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i == left_out) continue;
    const double log = std::log(predicted(steps[i], rates) / steps[i].seconds);
    sum += log * log;
  }
  return sum;
}

// One rate after the other, up or down by a factor that shrinks when nothing helps.
Rates fit(const std::vector<MeasuredStep>& steps, const std::vector<double Rates::*>& free, Rates rates, std::size_t left_out, double factor) {
  double best = misfit(steps, rates, left_out);
  while (factor > kFinest) {
    bool better = false;
    for (const auto rate : free) {
      for (const double by : {factor, 1 / factor}) {
        Rates other = rates;
        other.*rate *= by;
        const double now = misfit(steps, other, left_out);
        if (now >= best * (1 - 1e-9)) continue;
        best = now;
        rates = other;
        better = true;
      }
    }
    if (!better) factor = std::sqrt(factor);
  }
  return rates;
}

MeasuredStep read_step(const Json& row, const ModelShape& model, const std::string& name) {
  MeasuredStep step{.name = name, .model = model};
  const double batch = row.at("batch").get<double>();
  step.seconds = batch / row.at("tokens_per_s").get<double>();
  if (row.at("case") == "prefill") {
    step.work = {.prefill_rows = batch, .prefill_pairs = batch * (batch + 1) / 2, .logits = 1};
  } else {
    step.work = {.decode_rows = batch, .decode_keys = batch * (row.at("context").get<double>() + 1), .logits = batch};
  }
  step.name += " " + row.at("case").get<std::string>() + " " + std::to_string(static_cast<int>(batch));
  return step;
}

Link read_link(const Json& link) { return {link.at("latency_s").get<double>(), link.at("bandwidth").get<double>()}; }

Result<CostTable> read(const Json& json, const std::filesystem::path& folder) {
  CostTable table;
  table.machine = json.at("machine");
  table.date = json.at("date");
  table.source = json.at("source");
  table.memory_bytes = json.at("memory_bytes");
  table.node = read_link(json.at("node_link"));
  table.fabric = read_link(json.at("fabric_link"));
  table.node_source = json.at("node_link").at("source");
  table.fabric_source = json.at("fabric_link").at("source");
  const Json& measured = json.at("rates");
  table.rates.overlap = measured.at("overlap");
  table.rates.host_bandwidth = measured.at("host_bandwidth");
  for (const Json& model : json.at("steps")) {
    const std::string name = model.at("model");
    ASSIGN_OR_RETURN(const ModelShape shape, read_shape((folder / name).string()));
    for (const Json& row : model.at("rows")) table.steps.push_back(read_step(row, shape, std::filesystem::path(name).filename().string()));
  }
  const bool any_fp8 = std::any_of(table.steps.begin(), table.steps.end(), [](const auto& s) { return s.model.fp8; });
  std::vector<double Rates::*> free;
  for (const Rate& rate : kRates) {
    const bool given = measured.contains(rate.name);
    table.rates.*rate.value = given ? measured.at(rate.name).get<double>() : rate.start;
    if (given || (rate.value == &Rates::fp8_flops && !any_fp8)) continue;
    free.push_back(rate.value);
    table.fitted.push_back(rate.name);
  }
  const Rates start = table.rates;
  table.rates = fit(table.steps, free, start, table.steps.size(), 4);
  for (std::size_t i = 0; i < table.steps.size(); ++i) {
    table.errors.push_back(predicted(table.steps[i], fit(table.steps, free, table.rates, i, 1.2)) / table.steps[i].seconds - 1);
  }
  return table;
}

}  // namespace

double CostTable::error_bar() const {
  std::vector<double> sizes;
  for (const double error : errors) sizes.push_back(std::abs(error));
  if (sizes.empty()) return 0;
  std::sort(sizes.begin(), sizes.end());
  return sizes[std::min(sizes.size() - 1, sizes.size() * 9 / 10)];
}

Result<ModelShape> read_shape(const std::string& folder) {
  const std::string path = folder + "/config.json";
  std::ifstream file(path);
  if (!file) return Error{ErrorCode::kNotFound, "can't read " + path + ": it must be the config.json of a model", "model"};
  std::stringstream text;
  text << file.rdbuf();
  ASSIGN_OR_RETURN(const model::Config config, model::parse_config(text.str(), path));
  const Json json = Json::parse(text.str(), nullptr, false);
  const bool fp8 = json.contains("quantization_config") && json["quantization_config"].value("quant_method", "") == "fp8";
  return shape_of(config, fp8);
}

Result<CostTable> read_cost_table(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Error{ErrorCode::kNotFound, "can't read the cost table " + path, "costs"};
  try {
    return read(Json::parse(file), std::filesystem::path(path).parent_path());
  } catch (const Json::exception& e) {
    return invalid_argument("cost table " + path + ": " + e.what(), "costs");
  }
}

}  // namespace braid::planning
