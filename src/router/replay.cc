// SPDX-License-Identifier: Apache-2.0
#include "router/replay.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "protocol/json_text.h"

namespace braid::router {
namespace {

using Words = std::vector<std::string>;

Words split(std::string_view text, char separator) {
  Words words;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    if (end > at) words.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

// "key=value" in two; without "=" the value is empty.
std::pair<std::string, std::string> option(const std::string& word) {
  const std::size_t equals = word.find('=');
  if (equals == std::string::npos) return {word, ""};
  return {word.substr(0, equals), word.substr(equals + 1)};
}

Result<double> number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return invalid_argument("'" + text + "' is not a number");
}

// "A:400,B:20": 400 bytes that A stands for, then 20 of B.
Result<std::string> prompt_of(const std::string& pieces) {
  std::string prompt;
  for (const std::string& piece : split(pieces, ',')) {
    const Words parts = split(piece, ':');
    if (parts.size() != 2) return invalid_argument("a prompt is written A:400,B:20, not '" + pieces + "'");
    ASSIGN_OR_RETURN(const double size, number(parts[1]));
    if (!(size >= 0 && size <= 1e7)) return invalid_argument("a prompt of " + parts[1] + " bytes is too long");
    std::uint32_t state = 2166136261u;
    for (const char c : parts[0]) state = (state ^ static_cast<std::uint8_t>(c)) * 16777619u;
    for (int i = 0; i < static_cast<int>(size); ++i) {
      state = state * 1664525u + 1013904223u;
      prompt += static_cast<char>('a' + (state >> 24) % 26);
    }
  }
  return prompt;
}

Error expected(const std::string& what, const std::string& wanted, const std::string& is) {
  return invalid_argument(what + " is " + (is.empty() ? "none" : is) + ", not " + wanted);
}

std::string names(const std::vector<Target>& targets) {
  std::string text;
  for (const Target& target : targets) text += (text.empty() ? "" : ",") + target.id.name;
  return text;
}

std::string names(const Decision& decision, const std::vector<EndpointIndex>& indices) {
  std::string text;
  for (const EndpointIndex index : indices) text += (text.empty() ? "" : ",") + decision.endpoints[static_cast<std::size_t>(index)];
  return text;
}

const char* word_of(Disaggregation outcome) {
  switch (outcome) {
    case Disaggregation::kNotConfigured: return "not-configured";
    case Disaggregation::kDeclined: return "declined";
    case Disaggregation::kNoEndpoint: return "no-endpoint";
    case Disaggregation::kChosen: return "chosen";
  }
  return "";
}

Status set_value(Endpoint& endpoint, const std::string& key, const std::string& value) {
  EndpointState& state = endpoint.state;
  if (key == "role") {
    endpoint.labels[std::string(kRoleLabel)] = value;
    return {};
  }
  if (key.starts_with("label.")) {
    endpoint.labels[key.substr(6)] = value;
    return {};
  }
  if (key == "adapters") return state.active_adapters = split(value, ','), Status();
  if (key == "waiting_adapters") return state.waiting_adapters = split(value, ','), Status();
  ASSIGN_OR_RETURN(const double amount, number(value));
  if (key.starts_with("attr.")) {
    state.attributes[key.substr(5)] = amount;
  } else if (key == "waiting") {
    state.waiting = amount;
  } else if (key == "running") {
    state.running = amount;
  } else if (key == "kv") {
    state.kv_usage = amount;
  } else if (key == "rank") {
    endpoint.id.rank = static_cast<int>(amount);
  } else if (key == "block_size") {
    state.block_size = static_cast<int>(amount);
  } else if (key == "blocks") {
    state.num_blocks = static_cast<std::int64_t>(amount);
  } else if (key == "max_adapters") {
    state.max_adapters = static_cast<int>(amount);
  } else {
    return invalid_argument("an endpoint has no '" + key + "'");
  }
  return {};
}

}  // namespace

Status Replay::line(std::string_view text) {
  if (in_config_) {
    if (text == "end") return in_config_ = false, Status();
    config_.append(text).push_back('\n');
    return {};
  }
  Words words;
  std::istringstream in(std::string(text.substr(0, text.find('#'))));
  for (std::string word; in >> word;) words.push_back(word);
  if (words.empty()) return {};
  const std::string verb = words.front();
  words.erase(words.begin());
  if (verb == "config") {
    if (router_ != nullptr) return invalid_argument("config comes before everything else");
    in_config_ = true;
    return {};
  }
  RETURN_IF_ERROR(start());
  return act(verb, words);
}

Status Replay::finish() const {
  return in_config_ ? Status(invalid_argument("config has no 'end'")) : Status();
}

Status Replay::start() {
  if (router_ != nullptr) return {};
  RouterParts parts{&clock_, &metrics_, {}, 1};
  PickerConfig config;
  if (config_.empty()) {
    config = default_picker_config();
  } else {
    ASSIGN_OR_RETURN(config, parse_picker_config(config_, "config"));
    RETURN_IF_ERROR(add_resources(parts.resources, config_, "config"));
  }
  ASSIGN_OR_RETURN(router_, Router::make(config, std::move(parts)));
  return {};
}

Status Replay::act(const std::string& verb, const Words& words) {
  if (verb == "shut_down") return take(router_->shut_down()), Status();
  if (words.empty()) return invalid_argument("'" + verb + "' needs a word after it");
  if (verb == "endpoint") return set_endpoint(words);
  if (verb == "request") return submit(words);
  if (verb == "remove") {
    std::erase_if(endpoints_, [&](const Endpoint& endpoint) { return endpoint.id.name == words[0]; });
    router_->remove_endpoint(words[0]);
    return {};
  }
  if (verb == "restarted") return router_->restarted(words[0]), Status();
  if (verb == "advance") {
    ASSIGN_OR_RETURN(const double milliseconds, number(words[0]));
    if (!(milliseconds >= 0 && milliseconds < 1e12)) return invalid_argument("time goes forward, by milliseconds");
    clock_.advance(Duration(static_cast<std::int64_t>(milliseconds * 1e6)));
    take(router_->poll(endpoints_));
    return {};
  }
  if (verb == "evicts") {
    std::string text;
    for (const FlightId flight : router_->take_evictions()) {
      for (const auto& [name, request] : requests_) {
        if (request.flight == flight) text += (text.empty() ? "" : ",") + name;
      }
    }
    if (text.empty()) text = "nobody";
    return text == words[0] ? Status() : Status(expected("who is evicted", words[0], text));
  }
  if (!requests_.contains(words[0])) return invalid_argument("there is no request '" + words[0] + "'");
  if (verb == "sent" || verb == "chunk" || verb == "done" || verb == "cancel") return life(verb, words);
  return expect(verb, words);
}

Status Replay::set_endpoint(const Words& words) {
  auto found = std::find_if(endpoints_.begin(), endpoints_.end(), [&](const Endpoint& each) { return each.id.name == words[0]; });
  if (found == endpoints_.end()) {
    endpoints_.push_back({{words[0], "10.0.0." + std::to_string(endpoints_.size() + 1), 8000, 0}, {}, {}});
    found = endpoints_.end() - 1;
  }
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto [key, value] = option(words[i]);
    if (key == "at") {
      const std::size_t colon = value.rfind(':');
      if (colon == std::string::npos) return invalid_argument("an address is written at=HOST:PORT");
      found->id.address = value.substr(0, colon);
      ASSIGN_OR_RETURN(const double port, number(value.substr(colon + 1)));
      found->id.port = static_cast<int>(port);
      continue;
    }
    RETURN_IF_ERROR(set_value(*found, key, value));
    if (key != "role" && key != "rank") found->state.seen = clock_.now();
  }
  take(router_->poll(endpoints_));
  return {};
}

Status Replay::submit(const Words& words) {
  std::string model = "m", prompt, tail;
  IncomingRequest incoming{"POST", "/v1/completions", {{"x-request-id", words[0]}}, ""};
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto [key, value] = option(words[i]);
    if (key == "model") {
      model = value;
    } else if (key == "prompt") {
      ASSIGN_OR_RETURN(prompt, prompt_of(value));
    } else if (key == "objective") {
      incoming.headers.emplace_back("x-llm-d-inference-objective", value);
    } else if (key == "fairness") {
      incoming.headers.emplace_back("x-llm-d-inference-fairness-id", value);
    } else if (key == "ttl") {
      incoming.headers.emplace_back("x-llm-d-inference-ttl", value);
    } else if (key.starts_with("header.")) {
      incoming.headers.emplace_back(key.substr(7), value);
    } else if (key == "max_tokens" || key == "ids") {
      tail += key == "ids" ? "" : ",\"max_tokens\":" + value;
      if (key == "ids") prompt = "[" + value + "]";
    } else {
      return invalid_argument("a request has no '" + key + "'");
    }
  }
  const std::string text = prompt.starts_with('[') ? prompt : protocol::json_string(prompt);
  incoming.body = "{\"model\":" + protocol::json_string(model) + ",\"prompt\":" + text + tail + "}";
  ASSIGN_OR_RETURN(RoutedRequest routed, read_request(std::move(incoming), clock_.now()));
  Request& request = requests_[words[0]];
  request = {std::make_shared<RoutedRequest>(std::move(routed)), 0, 0, false, 0};
  Router::Submission submission = router_->submit(request.request, endpoints_);
  request.ticket = submission.ticket;
  if (submission.decision) decided(words[0], request, std::move(*submission.decision));
  take(router_->poll(endpoints_));
  return {};
}

void Replay::decided(const std::string& name, Request& request, Decision decision) {
  request.decided = true;
  request.decision = decisions_.size();
  decisions_.emplace_back(name, std::move(decision));
}

void Replay::take(std::vector<Settled> settled) {
  for (Settled& each : settled) {
    for (auto& [name, request] : requests_) {
      if (request.ticket == each.ticket && !request.decided) decided(name, request, std::move(each.decision));
    }
  }
}

Status Replay::life(const std::string& verb, const Words& words) {
  Request& request = requests_[words[0]];
  if (verb == "cancel") return router_->cancel(request.ticket), Status();
  if (verb == "sent") {
    if (!request.decided || !decisions_[request.decision].second.ok()) return invalid_argument(words[0] + " has nowhere to be sent");
    request.flight = router_->sent(*request.request, decisions_[request.decision].second);
    return {};
  }
  if (verb == "chunk") return router_->first_chunk(request.flight), Status();
  ResponseFacts facts;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto [key, value] = option(words[i]);
    ASSIGN_OR_RETURN(const double amount, number(value));
    (key == "prompt" ? facts.prompt_tokens : facts.output_tokens) = static_cast<std::int64_t>(amount);
  }
  router_->done(request.flight, facts);
  take(router_->poll(endpoints_));
  return {};
}

Status Replay::expect_numbers(const Decision& decision, const Words& words, std::size_t first, const std::string& scorer) const {
  for (std::size_t i = first; i < words.size(); ++i) {
    const auto [name, value] = option(words[i]);
    ASSIGN_OR_RETURN(const double wanted, number(value));
    bool found = false;
    for (const ProfileTrace& profile : decision.profiles) {
      for (std::size_t place = 0; place < profile.scored.size(); ++place) {
        if (decision.endpoints[static_cast<std::size_t>(profile.scored[place])] != name) continue;
        double is = profile.totals[place];
        if (!scorer.empty()) {
          const auto step = std::find_if(profile.scorers.begin(), profile.scorers.end(), [&](const ScorerTrace& each) { return each.name == scorer; });
          if (step == profile.scorers.end()) continue;
          is = step->scores[place];
        }
        found = true;
        if (std::abs(is - wanted) > 5e-5) return expected((scorer.empty() ? "total" : scorer) + " of " + name, value, std::to_string(is));
        break;
      }
      if (found) break;
    }
    if (!found) return invalid_argument(name + " has no " + (scorer.empty() ? "total" : "score by " + scorer));
  }
  return {};
}

Status Replay::expect(const std::string& verb, const Words& words) {
  const Request& request = requests_[words[0]];
  if (verb == "waits") return request.decided ? Status(invalid_argument(words[0] + " does not wait: " + to_text(decisions_[request.decision].second))) : Status();
  if (!request.decided) return invalid_argument(words[0] + " still waits");
  const Decision& decision = decisions_[request.decision].second;
  const auto same = [&](const std::string& what, std::string is) {
    if (is.empty()) is = "none";
    const std::string wanted = words.size() > 1 ? words[1] : "none";
    return is == wanted ? Status() : Status(expected(what + " of " + words[0], wanted, is));
  };
  if (verb == "refused") {
    if (decision.ok()) return invalid_argument(words[0] + " is not refused, but goes to " + names(decision.decode));
    std::string is = std::to_string(decision.refusal->status);
    if (words.size() > 2) is += " " + std::string(decision.refusal->reason);
    std::string wanted = words.size() > 1 ? words[1] : "";
    if (words.size() > 2) wanted += " " + words[2];
    return is == wanted ? Status() : Status(expected("the refusal of " + words[0], wanted, is + " (" + decision.refusal->message + ")"));
  }
  if (!decision.ok()) return invalid_argument(words[0] + " is refused: " + decision.refusal->message);
  if (verb == "to") return same("the target", names(decision.decode));
  if (verb == "prefill") return same("the prefill target", names(decision.prefill));
  if (verb == "model") return same("the model", decision.model);
  if (verb == "disaggregation") return same("disaggregation", word_of(decision.disaggregation.outcome));
  if (verb == "total") return expect_numbers(decision, words, 1, "");
  if (words.size() < 2) return invalid_argument("'" + verb + "' is no word of scenarios");
  if (verb == "score") return expect_numbers(decision, words, 2, words[1]);
  if (verb == "header") {
    const std::string_view request_value = find_header(decision.request_headers, words[1]);
    const std::string_view value = request_value.empty() ? find_header(decision.response_headers, words[1]) : request_value;
    const std::string wanted = words.size() > 2 ? words[2] : "";
    return value == wanted ? Status() : Status(expected("header " + words[1], wanted, std::string(value)));
  }
  if (verb == "removed") {
    for (const ProfileTrace& profile : decision.profiles) {
      for (const FilterTrace& filter : profile.filters) {
        if (filter.name != words[1]) continue;
        const std::string is = names(decision, filter.removed);
        const std::string wanted = words.size() > 2 ? words[2] : "";
        return is == wanted ? Status() : Status(expected("what " + words[1] + " removes", wanted, is));
      }
    }
  }
  return invalid_argument("'" + verb + " " + words[1] + "' is no word of scenarios");
}

Result<std::string> explain_scenario(std::string_view text, const std::string& file, bool json) {
  Replay replay;
  std::string out;
  std::size_t told = 0;
  int number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (const Status status = replay.line(line); !status.ok()) return status.error().within(file + " line " + std::to_string(number));
    for (; told < replay.decisions().size(); ++told) {
      const auto& [name, decision] = replay.decisions()[told];
      out += json ? "{\"request\":" + protocol::json_string(name) + ",\"decision\":" + to_json(decision) + "}\n" : "request " + name + "\n" + to_text(decision) + "\n";
    }
  }
  RETURN_IF_ERROR(replay.finish());
  return out;
}

}  // namespace braid::router
