// SPDX-License-Identifier: Apache-2.0
#include "app/load.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "fabric/group.h"
#include "model/plan.h"
#include "model/simulated.h"
#include "moe/expert_parallel.h"
#include "text/files.h"
#include "text/tokenizer_file.h"
#include "weights/files.h"
#include "weights/quantise.h"

namespace braid::app {
namespace {

// On a terminal a bar, or the amount where the whole is not known; elsewhere a line now and then,
// from 1 GiB on.
class LoadingProgress {
 public:
  void operator()(std::size_t done, std::size_t total) {
    const int percent = total ? static_cast<int>(std::min<std::size_t>(100, done * 100 / total)) : -1;
    terminal_ ? draw(done, percent) : log(done, percent);
  }
  ~LoadingProgress() {
    if (drawn_ != kNothing) std::fprintf(stderr, "\r\033[K");
  }

 private:
  static constexpr std::size_t kNothing = ~std::size_t{0};

  void draw(std::size_t done, int percent) {
    const std::size_t at = percent < 0 ? done >> 26 : static_cast<std::size_t>(percent);
    if (at == drawn_) return;
    drawn_ = at;
    if (percent < 0) std::fprintf(stderr, "\rloading weights %zu MiB", done >> 20);
    else std::fprintf(stderr, "\rloading weights [%-40.*s] %3d %% %zu MiB", percent * 40 / 100, "########################################", percent, done >> 20);
  }

  void log(std::size_t done, int percent) {
    const std::size_t at = (done >> 32) + static_cast<std::size_t>(std::max(0, percent) / 10);
    if (done < (std::size_t{1} << 30) || at == logged_) return;
    logged_ = at;
    if (percent < 0) log_info("loading weights", {{"mib", done >> 20}});
    else log_info("loading weights", {{"mib", done >> 20}, {"percent", percent}});
  }

  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  std::size_t drawn_ = kNothing, logged_ = 0;
};

Result<std::unique_ptr<weights::Checkpoint>> open_checkpoint(const ModelSettings& settings) {
  ASSIGN_OR_RETURN(auto checkpoint, settings.load_format == "dummy" ? weights::dummy_checkpoint(settings.model) : weights::open_checkpoint(settings.model));
  return settings.quantization == "fp8" ? weights::quantised_fp8(std::move(checkpoint)) : std::move(checkpoint);
}

// FP8 checkpoints stay what they are.
Status check_quantization(const ModelSettings& settings, const model::Config& config) {
  if (settings.quantization != "fp8" || config.quantization.empty() || config.quantization.starts_with("FP8")) return {};
  return invalid_argument("--quantization fp8 is for checkpoints that are not quantised, and " + settings.model + " is stored as " + config.quantization +
                          "; leave it out", "quantization");
}

// A folder and a device, and nothing of the one on the other yet.
struct OpenModel {
  LoadedModel loaded;
  ops::Backend backend;
};

Result<OpenModel> open_model(const ModelSettings& settings, model::Options& options, int device_index) {
  options.compute = settings.dtype == "float32" ? DType::kF32 : DType::kBF16;
  options.int8_activations = settings.cpu_activations == "int8";
  options.f8_cache = settings.kv_cache_dtype != "auto";
  OpenModel open;
  ASSIGN_OR_RETURN(open.loaded.checkpoint, open_checkpoint(settings));
  ASSIGN_OR_RETURN(const auto config, model_config(settings.model));
  RETURN_IF_ERROR(check_quantization(settings, config));
  const bool meant_for_f8 = config.f8_activations || (settings.quantization == "fp8" && config.quantization.empty());
  options.f8_activations = settings.gpu_activations == "fp8" || (settings.gpu_activations == "auto" && meant_for_f8);
  ASSIGN_OR_RETURN(OpenDevice device, open_device(settings, device_index));
  RETURN_IF_ERROR(ops::check_forced(*device.kernels, settings.kernel));
  open.loaded.stream = std::move(device.stream);
  open.backend = {device.kernels, open.loaded.stream.get(), settings.kernel};
  return open;
}

// What a rank is about to hold, from 1 GiB on.
Status announce(const OpenModel& open, const model::Options& options) {
  ASSIGN_OR_RETURN(const auto planned, model::plan(*open.loaded.checkpoint, options, open.backend));
  const int ranks = options.experts ? options.experts->bootstrap->size() : 1;
  const int redundant = options.experts ? options.experts->redundant_experts : 0;
  const std::size_t bytes = model::bytes_of_rank(*planned, ranks, redundant);
  if (bytes < std::size_t{1} << 30) return {};
  log_info("weights of each rank", {{"mib", bytes >> 20}, {"ranks_sharing_experts", ranks},
                                    {"files_mib", open.loaded.checkpoint->total_bytes() >> 20}});
  return {};
}

constexpr const char* kWords =
    " the of and to in is that it for on are as with be at this have from or by one had not but what all were when we"
    " there can an your which their if do will each how about up out them then she many some so these would other into"
    " has more her two like him see time could no make than first been its who now people my made over did down only";

// Tokens that a simulated model says.
Result<std::vector<std::int32_t>> simulated_words(const ModelSettings& settings, const model::Config& config) {
  ASSIGN_OR_RETURN(const auto tokenizer, load_tokenizer(settings));
  std::vector<std::int32_t> words = tokenizer ? tokenizer->encode(kWords, false) : std::vector<std::int32_t>();
  for (std::int32_t id = 0; !tokenizer && id < config.vocab_size; ++id) words.push_back(id);
  std::erase_if(words, [&](std::int32_t id) {
    return id >= config.vocab_size || std::find(config.eos_ids.begin(), config.eos_ids.end(), id) != config.eos_ids.end();
  });
  if (words.empty()) return invalid_argument("none of the words of --backend simulated are tokens of " + settings.model, "backend");
  return words;
}

Result<LoadedModel> simulated_model(const ModelSettings& settings, const model::Options& options) {
  if (options.draft_module) {
    return invalid_argument("a simulated model has no draft module; use --speculative-config.method ngram, or none", "speculative-config");
  }
  ASSIGN_OR_RETURN(model::Config config, model_config(settings.model));
  model::SimulatedOptions simulated;
  ASSIGN_OR_RETURN(simulated.costs.ttft_ms, model::Curve::parse(settings.simulated.ttft_ms, "simulated.ttft-ms"));
  ASSIGN_OR_RETURN(simulated.costs.itl_ms, model::Curve::parse(settings.simulated.itl_ms, "simulated.itl-ms"));
  ASSIGN_OR_RETURN(simulated.words, simulated_words(settings, config));
  simulated.mean_output_tokens = settings.simulated.mean_output_tokens;
  simulated.fail_at_step = settings.simulated.fail_at_step;
  simulated.hang_at_step = settings.simulated.hang_at_step;
  simulated.wait = [](Duration time) { std::this_thread::sleep_for(time); };
  LoadedModel loaded;
  ModelSettings one_thread = settings;
  one_thread.device = "cpu";
  one_thread.cpu_threads = 1;
  ASSIGN_OR_RETURN(OpenDevice device, open_device(one_thread));
  loaded.stream = std::move(device.stream);
  loaded.model = model::make_simulated(std::move(config), std::move(simulated));
  return loaded;
}

// The folder's generation_config.json, or an empty object.
nlohmann::json generation_config(const std::string& folder) {
  const auto text = text::read_file(folder + "/generation_config.json");
  auto json = text.ok() ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json::object();
  return json.is_object() ? json : nlohmann::json::object();
}

void add_eos(const nlohmann::json& ids, std::vector<std::int32_t>& to) {
  const auto add = [&](const nlohmann::json& id) {
    if (id.is_number_integer() && std::find(to.begin(), to.end(), id.get<std::int32_t>()) == to.end()) {
      to.push_back(id.get<std::int32_t>());
    }
  };
  if (ids.is_array()) std::for_each(ids.begin(), ids.end(), add);
  else add(ids);
}

// A bad word means its tokens with and without a space in front.
std::vector<std::vector<std::int32_t>> bad_word(const text::Tokenizer& tokenizer, const std::string& word) {
  std::vector<std::vector<std::int32_t>> sequences;
  for (const std::string& form : {word, " " + word}) {
    auto ids = tokenizer.encode(form, false);
    if (!ids.empty() && std::find(sequences.begin(), sequences.end(), ids) == sequences.end()) sequences.push_back(std::move(ids));
  }
  return sequences;
}

}  // namespace

Result<model::Config> model_config(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::string json, weights::read_config(folder));
  return model::parse_config(json, folder + "/config.json");
}

Result<int> model_length(const ModelSettings& settings, int setting, const model::Config& config) {
  const auto limit = static_cast<int>(std::min<std::int64_t>(config.max_positions, 1 << 30));
  if (setting > limit && settings.backend != "simulated") {
    return invalid_argument("--max-model-len " + std::to_string(setting) + " is beyond the model's " + std::to_string(limit) +
                            " positions (max_position_embeddings)", "max-model-len");
  }
  return setting > 0 ? setting : limit;
}

Result<LoadedModel> load_model(const ModelSettings& settings, model::Options options, bool show_progress, int device_index, const Consent& consent) {
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  if (settings.backend == "simulated") return simulated_model(settings, options);
  ASSIGN_OR_RETURN(OpenModel open, open_model(settings, options, device_index));
  if (consent && !open.loaded.stream->unified()) {
    ASSIGN_OR_RETURN(const model::Footprint footprint, model::footprint(*open.loaded.checkpoint, options, open.backend));
    RETURN_IF_ERROR(consent(footprint, *open.loaded.stream));
  }
  LoadingProgress progress;
  model::Progress report;
  if (show_progress) {
    RETURN_IF_ERROR(announce(open, options));
    report = [&](std::size_t done, std::size_t total) { progress(done, total); };
  }
  ASSIGN_OR_RETURN(open.loaded.model, model::build(*open.loaded.checkpoint, options, open.backend, report));
  RETURN_IF_ERROR(open.loaded.stream->trim());
  open.loaded.seconds = to_seconds(clock.now() - begin);
  return std::move(open.loaded);
}

Result<LoadedModel> plan_model(const ModelSettings& settings) {
  model::Options options;
  ASSIGN_OR_RETURN(OpenModel open, open_model(settings, options, 0));
  ASSIGN_OR_RETURN(open.loaded.model, model::plan(*open.loaded.checkpoint, options, open.backend));
  return std::move(open.loaded);
}

Result<std::shared_ptr<const text::Tokenizer>> load_tokenizer(const ModelSettings& settings) {
  if (settings.skip_tokenizer_init) return std::shared_ptr<const text::Tokenizer>();
  const std::string folder = settings.tokenizer.value_or(settings.model);
  auto tokenizer = text::load_tokenizer(folder);
  if (!tokenizer.ok() && !text::has_tokenizer_file(folder)) {
    return Error{ErrorCode::kNotFound, folder + " has no tokenizer.json and no tiktoken.model; name another folder with --tokenizer, or set --skip-tokenizer-init", "tokenizer"};
  }
  return tokenizer;
}

engine::Vocabulary load_vocabulary(const ModelSettings& settings, const model::Config& config,
                                   const std::shared_ptr<const text::Tokenizer>& tokenizer) {
  engine::Vocabulary vocabulary;
  vocabulary.size = config.vocab_size;
  vocabulary.eos_ids = config.eos_ids;
  const auto generation = generation_config(settings.model);
  if (generation.contains("eos_token_id")) add_eos(generation["eos_token_id"], vocabulary.eos_ids);
  if (!tokenizer) return vocabulary;
  vocabulary.tokenizer = tokenizer;
  auto grammars = text::make_grammar_compiler(settings.tokenizer.value_or(settings.model), vocabulary.eos_ids, config.vocab_size);
  if (grammars.ok()) vocabulary.grammars = *grammars;
  else log_warning("structured output is off", {{"reason", grammars.error().message}});
  vocabulary.encode_bad_word = [tokenizer](const std::string& word) { return bad_word(*tokenizer, word); };
  return vocabulary;
}

Result<LoadedText> load_text(const ModelSettings& settings, const model::Config& config) {
  LoadedText loaded;
  auto defaults = settings.generation_config == "auto" ? generation_config(settings.model) : nlohmann::json::object();
  defaults.update(nlohmann::json::parse(settings.override_generation_config.text));
  loaded.defaults = protocol::read_defaults(defaults.dump());
  ASSIGN_OR_RETURN(loaded.tokenizer, load_tokenizer(settings));
  loaded.vocabulary = load_vocabulary(settings, config, loaded.tokenizer);
  if (!loaded.tokenizer) return loaded;
  auto chat = text::load_chat_template(settings.tokenizer.value_or(settings.model));
  if (chat.ok()) loaded.chat_template = *chat;
  else if (chat.error().code != ErrorCode::kNotFound) return chat.error();
  return loaded;
}

}  // namespace braid::app
