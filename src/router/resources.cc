// SPDX-License-Identifier: Apache-2.0
#include "router/resources.h"

#include "router/config_reader.h"
#include "router/documents.h"

namespace braid::router {
namespace {

struct Metadata {
  std::string name;
  ConfigValue name_space, labels, annotations, created;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("name", self.name, {});
    v.value("namespace", self.name_space, "");
    v.value("labels", self.labels, "");
    v.value("annotations", self.annotations, "");
    v.value("creationTimestamp", self.created, "");
  }
};

struct ObjectiveSpec {
  int priority = 0;
  ConfigValue pool;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("priority", self.priority, {});
    v.value("poolRef", self.pool, "");
  }
};

struct ModelMatch {
  std::string type = "Exact";
  std::string value;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("type", self.type, {.choices = {"Exact"}});
    v.field("value", self.value, {});
  }
};

struct Match {
  ModelMatch model;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.object("model", self.model, "");
  }
};

struct TargetSpec {
  std::string model;
  std::optional<int> weight;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("modelRewrite", self.model, {});
    v.field("weight", self.weight, {.min = 1, .max = 1000000});
  }
};

struct RuleSpec {
  std::vector<Match> matches;
  std::vector<TargetSpec> targets;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.list("matches", self.matches, "");
    v.list("targets", self.targets, "");
  }
};

struct RewriteSpec {
  ConfigValue pool;
  std::vector<RuleSpec> rules;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.value("poolRef", self.pool, "");
    v.list("rules", self.rules, "");
  }
};

template <class Spec>
struct Resource {
  std::string api_version, kind;
  Metadata metadata;
  Spec spec;
  ConfigValue status;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("apiVersion", self.api_version, {});
    v.field("kind", self.kind, {});
    v.object("metadata", self.metadata, "");
    v.object("spec", self.spec, "");
    v.value("status", self.status, "");
  }
};

Status add_objective(Resources& resources, const ConfigValue& document) {
  Resource<ObjectiveSpec> objective;
  RETURN_IF_ERROR(read_config(document, objective));
  if (objective.metadata.name.empty()) return document.error("an InferenceObjective needs metadata.name");
  resources.objectives[objective.metadata.name] = objective.spec.priority;
  return {};
}

Status add_rewrite(Resources& resources, const ConfigValue& document) {
  Resource<RewriteSpec> rewrite;
  RETURN_IF_ERROR(read_config(document, rewrite));
  for (std::size_t i = 0; i < rewrite.spec.rules.size(); ++i) {
    const RuleSpec& spec = rewrite.spec.rules[i];
    RewriteRule rule{rewrite.metadata.name + "[" + std::to_string(i) + "]", {}, {}};
    for (const Match& match : spec.matches) rule.models.push_back(match.model.value);
    int weighted = 0;
    for (const TargetSpec& target : spec.targets) {
      weighted += target.weight.has_value();
      rule.targets.push_back({target.model, target.weight.value_or(0)});
    }
    if (rule.targets.empty()) return document.error("rule " + rule.name + " has no targets");
    if (weighted != 0 && weighted != static_cast<int>(rule.targets.size())) {
      return document.error("rule " + rule.name + " must give weights to all of its targets or to none");
    }
    resources.rewrites.push_back(std::move(rule));
  }
  return {};
}

}  // namespace

const RewriteRule* Resources::rule_for(std::string_view model) const {
  const RewriteRule* any = nullptr;
  for (const RewriteRule& rule : rewrites) {
    if (rule.models.empty() && any == nullptr) any = &rule;
    for (const std::string& name : rule.models) {
      if (name == model) return &rule;
    }
  }
  return any;
}

const RewriteTarget& choose_target(const RewriteRule& rule, std::uint64_t random) {
  std::uint64_t total = 0;
  for (const RewriteTarget& target : rule.targets) total += static_cast<std::uint64_t>(target.weight);
  if (total == 0) return rule.targets[random % rule.targets.size()];
  std::uint64_t point = random % total;
  for (const RewriteTarget& target : rule.targets) {
    const auto weight = static_cast<std::uint64_t>(target.weight);
    if (point < weight) return target;
    point -= weight;
  }
  return rule.targets.back();
}

Status add_resources(Resources& resources, const std::string& yaml, const std::string& file) {
  ASSIGN_OR_RETURN(const std::vector<ConfigValue> documents, split_documents(yaml, file));
  for (const ConfigValue& document : documents) {
    const std::string kind = kind_of(document);
    if (kind == "InferenceObjective") RETURN_IF_ERROR(add_objective(resources, document));
    if (kind == "InferenceModelRewrite") RETURN_IF_ERROR(add_rewrite(resources, document));
  }
  return {};
}

}  // namespace braid::router
