// SPDX-License-Identifier: Apache-2.0
#include "router/decision.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "protocol/json_text.h"

namespace braid::router {
namespace {

using protocol::append_json_string;

const char* name_of_status(int status) {
  switch (status) {
    case 400: return "BadRequest";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "NotFound";
    case 412: return "PreconditionFailed";
    case 429: return "ResourceExhausted";
    case 503: return "ServiceUnavailable";
    default: return "Internal";
  }
}

const char* name_of(Disaggregation outcome) {
  switch (outcome) {
    case Disaggregation::kNotConfigured: return "not configured";
    case Disaggregation::kDeclined: return "declined";
    case Disaggregation::kNoEndpoint: return "no prefill endpoint";
    case Disaggregation::kChosen: return "chosen";
  }
  return "";
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  std::string printed = text;
  while (printed.ends_with('0')) printed.pop_back();
  if (printed.ends_with('.')) printed.pop_back();
  return printed == "-0" ? "0" : printed;
}

std::string number_json(double value) { return std::isfinite(value) ? number(value) : "null"; }

std::string names(const Decision& decision, const std::vector<EndpointIndex>& indices) {
  std::string text;
  for (const EndpointIndex index : indices) {
    text += (text.empty() ? "" : ", ") + decision.endpoints[static_cast<std::size_t>(index)];
  }
  return text;
}

std::string targets(const std::vector<Target>& list) {
  std::string text;
  for (const Target& target : list) text += (text.empty() ? "" : ", ") + target.id.name + " (" + target.id.host_port() + ")";
  return text;
}

void print_profile(std::string& out, const Decision& decision, const ProfileTrace& profile) {
  out += "profile " + profile.name + "\n";
  for (const FilterTrace& filter : profile.filters) {
    if (!filter.removed.empty()) out += "  " + filter.name + " removes " + names(decision, filter.removed) + "\n";
    if (!filter.note.empty()) out += "  " + filter.name + ": " + filter.note + "\n";
  }
  for (std::size_t i = 0; i < profile.totals.size(); ++i) {
    out += "  " + decision.endpoints[static_cast<std::size_t>(profile.scored[i])] + " " + number(profile.totals[i]);
    const char* sign = " = ";
    for (const ScorerTrace& scorer : profile.scorers) {
      out += sign + scorer.name + " " + number(scorer.weight) + " * " + number(scorer.scores[i]);
      sign = " + ";
    }
    out += "\n";
  }
  if (!profile.picked.empty()) out += "  " + profile.picker + " picks " + names(decision, profile.picked) + "\n";
  if (!profile.note.empty()) out += "  " + profile.note + "\n";
}

// Writes members of a JSON object or items of a list, with commas between them.
class JsonWriter {
 public:
  std::string take() { return std::move(out_); }

  void open(char bracket) {
    separate();
    out_ += bracket;
    first_ = true;
  }
  void close(char bracket) {
    out_ += bracket;
    first_ = false;
  }
  void key(std::string_view name) {
    separate();
    append_json_string(out_, name);
    out_ += ':';
    first_ = true;
  }
  void text(std::string_view value) {
    separate();
    append_json_string(out_, value);
  }
  void raw(const std::string& value) {
    separate();
    out_ += value;
  }
  void member(std::string_view name, std::string_view value) {
    key(name);
    text(value);
  }

 private:
  void separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }

  std::string out_;
  bool first_ = true;
};

void write_names(JsonWriter& json, const Decision& decision, std::string_view key, const std::vector<EndpointIndex>& indices) {
  json.key(key);
  json.open('[');
  for (const EndpointIndex index : indices) json.text(decision.endpoints[static_cast<std::size_t>(index)]);
  json.close(']');
}

void write_targets(JsonWriter& json, std::string_view key, const std::vector<Target>& list) {
  json.key(key);
  json.open('[');
  for (const Target& target : list) {
    json.open('{');
    json.member("name", target.id.name);
    json.member("address", target.id.host_port());
    json.key("rank");
    json.raw(std::to_string(target.id.rank));
    json.close('}');
  }
  json.close(']');
}

void write_scores(JsonWriter& json, const Decision& decision, const ProfileTrace& profile) {
  json.key("endpoints");
  json.open('{');
  for (std::size_t i = 0; i < profile.totals.size(); ++i) {
    json.key(decision.endpoints[static_cast<std::size_t>(profile.scored[i])]);
    json.open('{');
    json.key("total");
    json.raw(number_json(profile.totals[i]));
    json.key("scores");
    json.open('{');
    for (const ScorerTrace& scorer : profile.scorers) {
      json.key(scorer.name);
      json.raw(number_json(scorer.scores[i]));
    }
    json.close('}');
    json.close('}');
  }
  json.close('}');
}

void write_profile(JsonWriter& json, const Decision& decision, const ProfileTrace& profile) {
  json.open('{');
  json.member("name", profile.name);
  json.key("filters");
  json.open('[');
  for (const FilterTrace& filter : profile.filters) {
    json.open('{');
    json.member("name", filter.name);
    write_names(json, decision, "removed", filter.removed);
    if (!filter.note.empty()) json.member("note", filter.note);
    json.close('}');
  }
  json.close(']');
  json.key("weights");
  json.open('{');
  for (const ScorerTrace& scorer : profile.scorers) {
    json.key(scorer.name);
    json.raw(number_json(scorer.weight));
  }
  json.close('}');
  write_scores(json, decision, profile);
  json.member("picker", profile.picker);
  write_names(json, decision, "picked", profile.picked);
  if (!profile.note.empty()) json.member("note", profile.note);
  json.close('}');
}

}  // namespace

std::string Refusal::body() const { return std::string("inference error: ") + name_of_status(status) + " - " + message; }

std::string to_text(const Decision& decision) {
  std::string out;
  if (decision.refusal) {
    out += "refused with " + std::to_string(decision.refusal->status) + ": " + decision.refusal->message + "\n";
  } else {
    out += "to " + targets(decision.decode) + "\n";
    if (!decision.prefill.empty()) out += "prefill on " + targets(decision.prefill) + "\n";
    if (!decision.rewrite_rule.empty()) out += "model " + decision.model + " by " + decision.rewrite_rule + "\n";
  }
  for (const std::string& note : decision.notes) out += note + "\n";
  for (const ProfileTrace& profile : decision.profiles) print_profile(out, decision, profile);
  if (decision.disaggregation.outcome != Disaggregation::kNotConfigured) {
    out += std::string("disaggregation ") + name_of(decision.disaggregation.outcome) + " by " + decision.disaggregation.decider +
           ": " + decision.disaggregation.reason + "\n";
  }
  return out;
}

std::string to_json(const Decision& decision) {
  JsonWriter json;
  json.open('{');
  if (decision.refusal) {
    json.key("refusal");
    json.open('{');
    json.key("status");
    json.raw(std::to_string(decision.refusal->status));
    json.member("reason", decision.refusal->reason);
    json.member("message", decision.refusal->message);
    json.close('}');
  }
  json.member("model", decision.model);
  if (!decision.rewrite_rule.empty()) json.member("rewrite_rule", decision.rewrite_rule);
  write_targets(json, "decode", decision.decode);
  write_targets(json, "prefill", decision.prefill);
  json.key("disaggregation");
  json.open('{');
  json.member("outcome", name_of(decision.disaggregation.outcome));
  json.member("decider", decision.disaggregation.decider);
  json.member("reason", decision.disaggregation.reason);
  json.close('}');
  json.key("profiles");
  json.open('[');
  for (const ProfileTrace& profile : decision.profiles) write_profile(json, decision, profile);
  json.close(']');
  json.key("notes");
  json.open('[');
  for (const std::string& note : decision.notes) json.text(note);
  json.close(']');
  json.key("queued_ms");
  json.raw(number_json(to_seconds(decision.queued) * 1e3));
  json.key("spent_us");
  json.raw(number_json(to_seconds(decision.spent) * 1e6));
  json.close('}');
  return json.take();
}

}  // namespace braid::router
