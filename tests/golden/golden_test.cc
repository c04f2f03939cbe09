// SPDX-License-Identifier: Apache-2.0
// Small models of every family against logits, routing and greedy continuations computed by an
// independent program in float32, with every tier of CPU kernels that this machine has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/plan.h"
#include "ops/reference.h"
#include "tests/golden/test_device.h"
#include "weights/checkpoint.h"
#include "weights/safetensors.h"

namespace braid {
namespace {

constexpr int kBlock = 16, kBlocks = 128;

struct Expected {
  std::shared_ptr<weights::MappedFile> file;
  std::vector<weights::Entry> entries;

  explicit Expected(const std::string& path) : file(*weights::MappedFile::open(path)), entries(*weights::parse_safetensors(file->bytes(), path)) {}
  TensorView get(const std::string& name) const {
    for (const auto& e : entries) {
      if (e.name == name) return {file->bytes().data() + e.begin, e.dtype, e.shape};
    }
    return {};
  }
  std::vector<std::int32_t> ids(const std::string& name) const {
    const TensorView v = get(name);
    if (!v.data) return {};
    const auto* data = static_cast<const std::int32_t*>(v.data);
    return {data, data + v.elements()};
  }
};

std::string folder_of(const std::string& name) {
  return name == "lexicon-30m" ? std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m"
                               : std::string(BRAID_BINARY_DIR) + "/golden/models/" + name;
}

struct Subject {
  TestDevice device = open_test_device();
  std::unique_ptr<model::Model> model;
  std::optional<kv::Cache> cache;
  std::vector<std::int32_t> table = std::vector<std::int32_t>(64);

  Subject(const std::string& name, const std::string& tier, DType compute, bool int8 = false, bool f8 = false, bool f8_cache = false) {
    const auto checkpoint = weights::open_checkpoint(folder_of(name));
    model::Options options;
    options.compute = compute;
    options.int8_activations = int8;
    options.f8_activations = f8;
    options.f8_cache = f8_cache;
    options.max_model_len = options.max_batched_tokens = 1024;
    options.max_sequences = 128;
    options.draft_module = name == "deepseek-v3" || name == "lexicon-30m";
    ops::Backend backend{tier == "reference" ? &ops::reference::lists() : device.kernels, device.stream.get(), {}};
    if (tier != "reference" && !tier.empty()) backend.forced = {tier};
    auto built = model::build(**checkpoint, options, backend);
    EXPECT_TRUE(built.ok()) << built.error().message;
    model = std::move(built).value();
    cache.emplace(model->cache_layout(), kBlocks, kBlock);
    for (int i = 0; i < 64; ++i) table[static_cast<std::size_t>(i)] = (i * 37) % kBlocks;
  }

  std::int32_t slot(int p) const { return table[static_cast<std::size_t>(p / kBlock)] * kBlock + p % kBlock; }

  void add(model::Batch& b, std::int32_t token, int position) const {
    b.logit_rows.push_back(static_cast<std::int32_t>(b.tokens()));
    b.token_ids.push_back(token);
    b.positions.push_back(position);
    b.slots.push_back(slot(position));
  }

  // Logits of tokens [first, first + count) of a prompt, computed as one chunk.
  std::vector<float> prefill(const std::vector<std::int32_t>& ids, int first, int count, const model::Trace* trace = nullptr) {
    model::Batch b;
    for (int p = first; p < first + count; ++p) add(b, ids[static_cast<std::size_t>(p)], p);
    b.prefill.push_back({0, count, first, table.data()});
    const auto out = model->forward(b, *cache, trace).value();
    return {out.data, out.data + out.rows * out.cols};
  }

  // The draft module's logits for a prompt that was just computed and the token that came next.
  std::vector<float> draft(const std::vector<std::int32_t>& ids, std::int32_t next) {
    model::Batch b;
    std::vector<std::int32_t> sources(ids.size());
    std::iota(sources.begin(), sources.end(), 0);
    for (std::size_t p = 0; p < ids.size(); ++p) add(b, p + 1 < ids.size() ? ids[p + 1] : next, static_cast<int>(p));
    b.prefill.push_back({0, static_cast<std::int32_t>(ids.size()), 0, table.data()});
    const auto out = model->draft_module()->draft(b, sources, model::DraftFrom::kForward, *cache).value();
    return {out.data, out.data + out.rows * out.cols};
  }

  // Logits of `copies` equal decode rows.
  std::vector<float> decode(std::int32_t token, int position, int copies = 1) {
    model::Batch b;
    for (int i = 0; i < copies; ++i) {
      add(b, token, position);
      b.decode.push_back({position, table.data()});
    }
    const auto out = model->forward(b, *cache).value();
    return {out.data, out.data + out.rows * out.cols};
  }
};

std::int32_t best(std::span<const float> row) {
  return static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

int greedy_matches(Subject& s, const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& greedy) {
  const auto logits = s.prefill(ids, 0, static_cast<int>(ids.size()));
  const auto vocabulary = static_cast<std::size_t>(s.model->config().vocab_size);
  std::int32_t token = best(std::span(logits).last(vocabulary));
  int same = 0;
  for (std::size_t i = 0; i < greedy.size() && token == greedy[i]; ++i, ++same) {
    token = best(s.decode(token, static_cast<int>(ids.size() + i)));
  }
  return same;
}

double largest_difference(std::span<const float> a, const TensorView& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<const float*>(b.data)[i]);
    if (!(d <= worst)) worst = std::isnan(d) ? HUGE_VAL : d;
  }
  return worst;
}

const char* kModels[] = {"deepseek-v2", "deepseek-v2-grouped", "deepseek-v3", "deepseek-v3-fp8", "kimi-k2",
                         "qwen3-moe", "qwen3-moe-fp8", "qwen3", "qwen2-moe", "glm4-moe", "mixtral", "llama", "gpt-oss", "llama4"};

// transformers in BF16 from float32, over the positions of all prompts: mean and median of the KL
// divergence, and the largest difference of a logit where the routing is equal.
struct BulkRow {
  const char* model;
  double mean, median, same_routing_difference;
};
constexpr BulkRow kBFloat16[] = {
    {"deepseek-v2", 0.00259, 0.00186, 0.551}, {"deepseek-v2-grouped", 0.0159, 0.00433, 1.12}, {"deepseek-v3", 0.0485, 0.00585, 1.18},
    {"deepseek-v3-fp8", 0.0283, 0.00366, 1.17}, {"kimi-k2", 0.0308, 0.00565, 0.906}, {"qwen3-moe", 0.000724, 0.000286, 0.183},
    {"qwen3-moe-fp8", 0.00101, 0.000425, 0.206}, {"qwen3", 0.000192, 0.000159, 0.116}, {"qwen2-moe", 0.00253, 0.000879, 0.292}, {"glm4-moe", 0.00389, 0.000407, 0.183},
    {"mixtral", 0.0121, 0.00107, 1.01}, {"llama", 0.000633, 0.000551, 0.185}, {"gpt-oss", 0.0123, 0.00474, 0.774},
    {"llama4", 0.0167, 0.000568, 0.464}};

// The same of FP8 activations alone, everything else float32; there the largest difference is that of
// all positions.
constexpr BulkRow kF8Activations[] = {{"deepseek-v3-fp8", 0.187, 0.101, 3.98}, {"qwen3-moe-fp8", 0.0296, 0.0167, 2.95}};

class Golden : public testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  std::string name() const { return std::get<0>(GetParam()); }
  std::string tier() const { return std::get<1>(GetParam()); }
  Expected expected() const { return Expected(std::string(BRAID_BINARY_DIR) + "/golden/models/" + name() + "/expected.safetensors"); }
};

TEST_P(Golden, Float32LogitsAndGreedyTokensAgree) {
  const Expected e = expected();
  Subject s(name(), tier(), DType::kF32);
  double worst = 0;
  int rows = 0, tokens = 0;
  for (int i = 0; i < 3; ++i) {
    const auto ids = e.ids("input_ids." + std::to_string(i)), greedy = e.ids("greedy." + std::to_string(i));
    ASSERT_FALSE(ids.empty());
    const auto logits = s.prefill(ids, 0, static_cast<int>(ids.size()));
    worst = std::max(worst, largest_difference(logits, e.get("logits." + std::to_string(i))));
    EXPECT_EQ(greedy_matches(s, ids, greedy), static_cast<int>(greedy.size()));
    rows += static_cast<int>(ids.size());
    tokens += static_cast<int>(greedy.size());
  }
  std::printf("%s %s: largest logit difference in float32 %.1e over %d rows, %d greedy tokens equal\n", name().c_str(), tier().c_str(), worst, rows, tokens);
  EXPECT_EQ(rows, 88);
  EXPECT_LE(worst, 5e-4);
}

class GoldenDraft : public Golden {};

TEST_P(GoldenDraft, Float32LogitsAgree) {
  const Expected e = expected();
  Subject s(name(), tier(), DType::kF32);
  for (int i = 0; i < 3; ++i) {
    const auto ids = e.ids("input_ids." + std::to_string(i)), greedy = e.ids("greedy." + std::to_string(i));
    s.prefill(ids, 0, static_cast<int>(ids.size()));
    EXPECT_LE(largest_difference(s.draft(ids, greedy[0]), e.get("mtp_logits." + std::to_string(i))), 5e-4);
  }
}

TEST_P(Golden, Float32HiddenStatesAndRoutingAgree) {
  const Expected e = expected();
  Subject s(name(), tier(), DType::kF32);
  const TensorView hidden = e.get("hidden.1");
  double worst = 0, worst_weight = 0;
  int layers = 0, routed = 0;
  model::Trace trace;
  trace.hidden = [&](int layer, Matrix<const float> h) {
    const auto per_layer = static_cast<std::size_t>(h.rows * h.cols);
    const TensorView part{static_cast<const float*>(hidden.data) + static_cast<std::size_t>(layer + 1) * per_layer, DType::kF32, {}};
    worst = std::max(worst, largest_difference({h.data, per_layer}, part));
    ++layers;
  };
  trace.routing = [&](int layer, Matrix<const float> logits, std::span<const std::int32_t> ids, std::span<const float> weights, int k) {
    const auto want = e.ids("routing_ids." + std::to_string(layer) + ".1");
    const TensorView want_weights = e.get("routing_weights." + std::to_string(layer) + ".1");
    ++routed;
    ASSERT_EQ(want.size(), static_cast<std::size_t>(logits.rows * k));
    for (std::int64_t t = 0; t < logits.rows; ++t) {
      std::vector<std::pair<std::int32_t, float>> got;
      for (int j = 0; j < k; ++j) got.emplace_back(ids[static_cast<std::size_t>(t * k + j)], weights[static_cast<std::size_t>(t * k + j)]);
      std::sort(got.begin(), got.end());
      for (int j = 0; j < k; ++j) {
        ASSERT_EQ(got[static_cast<std::size_t>(j)].first, want[static_cast<std::size_t>(t * k + j)]);
        worst_weight = std::max<double>(worst_weight, std::fabs(got[static_cast<std::size_t>(j)].second - want_weights.at(t * k + j)));
      }
    }
  };
  const auto ids = e.ids("input_ids.1");
  s.prefill(ids, 0, static_cast<int>(ids.size()), &trace);
  EXPECT_EQ(layers, s.model->config().layers + 1);
  int routers = 0;
  for (int l = 0; l < s.model->config().layers; ++l) routers += !e.ids("routing_ids." + std::to_string(l) + ".1").empty();
  EXPECT_EQ(routed, routers);
  EXPECT_LE(worst, 5e-4);
  EXPECT_LE(worst_weight, 1e-5);
}

// Arithmetic, and whether the cache is FP8 where this device has one.
std::vector<std::pair<DType, bool>> arithmetics() {
  return {{DType::kF32, false}, {DType::kBF16, false}, {DType::kF32, true}, {DType::kBF16, true}};
}

TEST_P(Golden, ChunksBatchesAndWorkersChangeNoBit) {
  const Expected e = expected();
  for (const auto& [compute, f8_cache] : arithmetics()) {
    Subject s(name(), tier(), compute, false, false, f8_cache);
    const auto ids = e.ids("input_ids.2");
    const auto vocabulary = static_cast<std::size_t>(s.model->config().vocab_size);
    const auto whole = s.prefill(ids, 0, 70);
    std::vector<float> chunks;
    for (const auto& [first, count] : {std::pair{0, 1}, {1, 33}, {34, 36}}) {
      const auto part = s.prefill(ids, first, count);
      chunks.insert(chunks.end(), part.begin(), part.end());
    }
    EXPECT_EQ(whole, chunks);
    const auto alone = s.decode(5, 70);
    const auto crowd = s.decode(5, 70, 9);
    for (std::size_t i = 0; i < 9; ++i) {
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), crowd.begin() + static_cast<std::ptrdiff_t>(i * vocabulary)));
    }
  }
}

// A decode row beside a prefill and decode rows of other sequences and lengths.
TEST_P(Golden, ARowIsTheSameAmongStrangers) {
  const Expected e = expected();
  const auto ids = e.ids("input_ids.2"), other = e.ids("input_ids.1");
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    Subject s(name(), tier(), compute);
    const auto vocabulary = static_cast<std::size_t>(s.model->config().vocab_size);
    s.prefill(ids, 0, 70);
    const auto alone = s.decode(5, 70);
    // Three strangers in blocks of their own; entry 0 of each table is its first block.
    std::vector<std::vector<std::int32_t>> tables;
    for (int n = 0; n < 3; ++n) {
      tables.emplace_back(64, s.table[static_cast<std::size_t>(20 + 2 * n)]);
      tables.back()[1] = s.table[static_cast<std::size_t>(21 + 2 * n)];
    }
    const auto mine = s.table;
    for (int n = 0; n < 2; ++n) {
      s.table = tables[static_cast<std::size_t>(n)];
      s.prefill(other, 0, 9 + n);
    }
    s.table = mine;
    model::Batch b;
    const auto push = [&](const std::vector<std::int32_t>& table, std::int32_t token, int position) {
      s.table = table;
      s.add(b, token, position);
    };
    for (int p = 0; p < 17; ++p) push(tables[2], other[static_cast<std::size_t>(p)], p);
    b.prefill.push_back({0, 17, 0, tables[2].data()});
    push(tables[0], 7, 9);
    b.decode.push_back({9, tables[0].data()});
    push(mine, 5, 70);
    b.decode.push_back({70, mine.data()});
    push(tables[1], 11, 10);
    b.decode.push_back({10, tables[1].data()});
    const auto out = s.model->forward(b, *s.cache).value();
    ASSERT_EQ(out.rows, 20);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), out.data + 18 * vocabulary));
  }
}

// What speculative decoding rests on: rows of one sequence in one step are those of many steps.
TEST_P(Golden, SeveralRowsOfASequenceAreTheSameAsOneByOne) {
  const Expected e = expected();
  const auto ids = e.ids("input_ids.2");
  for (const auto& [compute, f8_cache] : arithmetics()) {
    Subject s(name(), tier(), compute, false, false, f8_cache);
    s.prefill(ids, 0, 60);
    std::vector<float> singles;
    for (int p = 60; p < 70; ++p) {
      const auto one = s.decode(ids[static_cast<std::size_t>(p)], p);
      singles.insert(singles.end(), one.begin(), one.end());
    }
    s.decode(3, 60);  // something rejected
    model::Batch b;
    for (int p = 60; p < 70; ++p) {
      s.add(b, ids[static_cast<std::size_t>(p)], p);
      b.decode.push_back({p, s.table.data()});
    }
    const auto out = s.model->forward(b, *s.cache).value();
    EXPECT_TRUE(std::equal(singles.begin(), singles.end(), out.data));
  }
}

// What a device with memory of its own is asked for is known before.
TEST_P(Golden, AFootprintSaysWhatTheModelWillTake) {
  Subject s(name(), tier(), DType::kBF16);
  const auto checkpoint = weights::open_checkpoint(folder_of(name()));
  model::Options options;
  options.max_model_len = options.max_batched_tokens = 1024;
  options.max_sequences = 128;
  const auto footprint = model::footprint(**checkpoint, options, {s.device.kernels, s.device.stream.get(), {tier()}});
  ASSERT_TRUE(footprint.ok()) << footprint.error().message;
  EXPECT_GE(footprint->weights, s.model->weight_bytes() / 5) << "matrices as small as these are padded to whole tiles";
  EXPECT_GE(footprint->buffers, std::size_t{1024} * static_cast<std::size_t>(s.model->config().hidden) * sizeof(float));
  EXPECT_EQ(footprint->cache.row_bytes(), s.model->cache_layout().row_bytes());
}

// Chosen experts of each token, all layers, sorted.
using Choices = std::vector<std::vector<std::int32_t>>;

std::vector<float> observed_prefill(Subject& s, const std::vector<std::int32_t>& ids, Choices& choices) {
  choices.assign(ids.size(), {});
  model::Trace trace;
  trace.routing = [&](int, Matrix<const float>, std::span<const std::int32_t> chosen, std::span<const float>, int k) {
    for (std::size_t t = 0; t < ids.size(); ++t) {
      auto& all = choices[t];
      const auto first = all.insert(all.end(), chosen.begin() + static_cast<std::ptrdiff_t>(t) * k,
                                    chosen.begin() + static_cast<std::ptrdiff_t>(t + 1) * k);
      std::sort(first, all.end());
    }
  };
  return s.prefill(ids, 0, static_cast<int>(ids.size()), &trace);
}

double divergence(std::span<const float> p, std::span<const float> q) {
  const auto log_sum = [](std::span<const float> x) {
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v));
    return std::log(sum);
  };
  const double zp = log_sum(p), zq = log_sum(q);
  double kl = 0;
  for (std::size_t v = 0; v < p.size(); ++v) kl += std::exp(p[v] - zp) * ((p[v] - zp) - (q[v] - zq));
  return kl;
}

// Rounding may send a token of a random model to another expert, which later tokens of the text see in the
// cache. So the bulk of all positions is bounded, the mean loosely, and the largest difference only where
// this token and all before it were routed as in float32.
struct Bulk {
  std::vector<double> divergences;  // rising
  std::size_t same_routing = 0;
  double worst_same = 0;

  double median() const { return divergences[divergences.size() / 2]; }
  double mean() const { return std::accumulate(divergences.begin(), divergences.end(), 0.0) / static_cast<double>(divergences.size()); }
};

Bulk compare(const Expected& e, Subject& exact, Subject& rounded) {
  const auto vocabulary = static_cast<std::size_t>(exact.model->config().vocab_size);
  Bulk bulk;
  for (int i = 0; i < 3; ++i) {
    const auto ids = e.ids("input_ids." + std::to_string(i));
    Choices wanted, chosen;
    const auto want = observed_prefill(exact, ids, wanted), got = observed_prefill(rounded, ids, chosen);
    bool same_so_far = true;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      bulk.divergences.push_back(divergence(std::span(want).subspan(t * vocabulary, vocabulary), std::span(got).subspan(t * vocabulary, vocabulary)));
      same_so_far = same_so_far && wanted[t] == chosen[t];
      bulk.same_routing += wanted[t] == chosen[t] ? 1 : 0;
      if (!same_so_far) continue;
      const TensorView row{want.data() + t * vocabulary, DType::kF32, {}};
      bulk.worst_same = std::max(bulk.worst_same, largest_difference(std::span(got).subspan(t * vocabulary, vocabulary), row));
    }
  }
  std::sort(bulk.divergences.begin(), bulk.divergences.end());
  return bulk;
}

// How many times a row of a table may be reached.
struct Allowed {
  double mean, median, same_routing_difference;
};

void expect_close(const Bulk& bulk, std::span<const BulkRow> table, const std::string& model, const std::string& what, const Allowed& allowed = {10, 3, 2}) {
  const auto row = std::find_if(table.begin(), table.end(), [&](const auto& r) { return model == r.model; });
  ASSERT_NE(row, table.end());
  std::printf("%s %s: same routing %zu of %zu, KL median %.2e (%.2e), mean %.2e (%.2e), "
              "largest difference %.3f (%.3f)\n",
              row->model, what.c_str(), bulk.same_routing, bulk.divergences.size(), bulk.median(), row->median, bulk.mean(),
              row->mean, bulk.worst_same, row->same_routing_difference);
  EXPECT_LE(bulk.worst_same, allowed.same_routing_difference * row->same_routing_difference);
  EXPECT_LE(bulk.median(), allowed.median * row->median);
  EXPECT_LE(bulk.mean(), allowed.mean * row->mean);
}

TEST_P(Golden, BFloat16StaysCloseInBulk) {
  Subject exact(name(), tier(), DType::kF32), rounded(name(), tier(), DType::kBF16);
  const Bulk bulk = compare(expected(), exact, rounded);
  EXPECT_GE(bulk.same_routing, bulk.divergences.size() / 2);
  expect_close(bulk, kBFloat16, name(), tier());
}

class GoldenF8Cache : public Golden {};

// e4m3 is 32 times as coarse as bfloat16, and divergences grow with the square; but only the cache is e4m3.
TEST_P(GoldenF8Cache, StaysCloseInBulk) {
  Subject exact(name(), tier(), DType::kF32), rounded(name(), tier(), DType::kF32, false, false, true);
  EXPECT_LT(rounded.model->cache_layout().row_bytes(), exact.model->cache_layout().row_bytes() / 2);
  expect_close(compare(expected(), exact, rounded), kBFloat16, name(), tier() + " FP8 cache", {64, 64, 8});
}

class GoldenF8 : public Golden {};

TEST_P(GoldenF8, RoundedActivationsStayCloseInBulk) {
  Subject exact(name(), tier(), DType::kF32), rounded(name(), tier(), DType::kBF16, false, true);
  expect_close(compare(expected(), exact, rounded), kF8Activations, name(), tier() + " FP8 activations");
}

std::vector<const char*> tiers() { return open_test_device().tiers; }
std::vector<const char*> modes() { return open_test_device().modes; }
// The slow reference works on the host's memory.
std::vector<const char*> reference_models() {
  return open_test_device().stream->unified() ? std::vector<const char*>{"deepseek-v3"} : std::vector<const char*>{};
}

std::string test_name(const testing::TestParamInfo<Golden::ParamType>& info) {
  std::string text = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

INSTANTIATE_TEST_SUITE_P(Device, Golden, testing::Combine(testing::ValuesIn(kModels), testing::ValuesIn(tiers())), test_name);
INSTANTIATE_TEST_SUITE_P(Device, GoldenF8, testing::Combine(testing::Values("deepseek-v3-fp8", "qwen3-moe-fp8"), testing::ValuesIn(tiers())), test_name);
INSTANTIATE_TEST_SUITE_P(Device, GoldenF8Cache, testing::Combine(testing::ValuesIn(kModels), testing::ValuesIn(tiers())), test_name);
INSTANTIATE_TEST_SUITE_P(Device, GoldenDraft, testing::Combine(testing::Values("deepseek-v3"), testing::ValuesIn(tiers())), test_name);

INSTANTIATE_TEST_SUITE_P(Reference, Golden, testing::Combine(testing::ValuesIn(reference_models()), testing::Values("reference")), test_name);

class Lexicon : public testing::TestWithParam<const char*> {};

// Its greedy margins are wide: the default engine must say exactly what float32 says, and so do those
// that round activations to int8 or FP8 or the cache to FP8, whose deviation is printed.
TEST_P(Lexicon, AnswersWordForWord) {
  const Expected e(std::string(BRAID_BINARY_DIR) + "/golden/models/lexicon-30m/expected.safetensors");
  const std::string mode = GetParam();
  Subject s("lexicon-30m", "", mode == "float32" ? DType::kF32 : DType::kBF16, mode == "int8", mode == "fp8", mode == "fp8_cache");
  int answers = 0;
  double worst = 0;
  for (int i = 0; i < 64; ++i) {
    const auto ids = e.ids("input_ids." + std::to_string(i)), greedy = e.ids("greedy." + std::to_string(i));
    if (ids.empty() || greedy.empty()) continue;
    const TensorView want = e.get("logits." + std::to_string(i));
    if (want.data) worst = std::max(worst, largest_difference(s.prefill(ids, 0, static_cast<int>(ids.size())), want));
    EXPECT_EQ(greedy_matches(s, ids, greedy), static_cast<int>(greedy.size())) << "question " << i;
    ++answers;
  }
  EXPECT_EQ(answers, 24);
  std::printf("%s: largest logit difference from float32 %.2e\n", mode.c_str(), worst);
  if (mode == "float32") {
    EXPECT_LE(worst, 5e-4);
  }
}

// 620 tokens in chunks: far enough from the first position that the rounding of rotations shows.
TEST_P(Lexicon, FollowsALongText) {
  const Expected e(std::string(BRAID_BINARY_DIR) + "/golden/models/lexicon-30m/expected.safetensors");
  const std::string mode = GetParam();
  Subject s("lexicon-30m", "", mode == "float32" ? DType::kF32 : DType::kBF16, mode == "int8", mode == "fp8", mode == "fp8_cache");
  const auto ids = e.ids("long.input_ids"), positions = e.ids("long.positions");
  ASSERT_EQ(ids.size(), 620u);
  std::vector<float> logits;
  for (int first = 0; first < 620; first += 256) {
    const auto part = s.prefill(ids, first, std::min(256, 620 - first));
    logits.insert(logits.end(), part.begin(), part.end());
  }
  const TensorView want = e.get("long.logits");
  const auto vocabulary = static_cast<std::size_t>(s.model->config().vocab_size);
  std::vector<double> kl;
  double worst = 0;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto got = std::span<const float>(logits).subspan(static_cast<std::size_t>(positions[i]) * vocabulary, vocabulary);
    const std::span row(static_cast<const float*>(want.data) + i * vocabulary, vocabulary);
    worst = std::max(worst, largest_difference(got, {row.data(), DType::kF32, {}}));
    kl.push_back(divergence(row, got));
  }
  std::sort(kl.begin(), kl.end());
  std::printf("%s: long text: largest logit difference %.2e, KL median %.2e, mean %.2e\n", mode.c_str(), worst,
              kl[kl.size() / 2], std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(kl.size()));
  if (mode == "float32") {
    EXPECT_LE(worst, 5e-3);
  }
}

TEST_P(Lexicon, ItsDraftModuleGuessesTheTokenAfterTheNext) {
  const Expected e(std::string(BRAID_BINARY_DIR) + "/golden/models/lexicon-30m/expected.safetensors");
  const std::string mode = GetParam();
  Subject s("lexicon-30m", "", mode == "float32" ? DType::kF32 : DType::kBF16, mode == "int8", mode == "fp8", mode == "fp8_cache");
  const auto vocabulary = static_cast<std::size_t>(s.model->config().vocab_size);
  for (int i = 0; i < 3; ++i) {
    const auto ids = e.ids("input_ids." + std::to_string(i)), greedy = e.ids("greedy." + std::to_string(i));
    s.prefill(ids, 0, static_cast<int>(ids.size()));
    const auto logits = s.draft(ids, greedy[0]);
    const double difference = largest_difference(logits, e.get("mtp_logits." + std::to_string(i)));
    EXPECT_EQ(best(std::span(logits).last(vocabulary)), greedy[1]);
    if (mode == "float32") {
      EXPECT_LE(difference, 5e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Lexicon, testing::ValuesIn(modes()));

}  // namespace
}  // namespace braid
