// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <vector>

#include "app/commands.h"
#include "base/version.h"
#include "text/core.h"

namespace {

using namespace braid::app;

constexpr Command kCommands[] = {
    {"serve", "serve a model over an OpenAI-compatible HTTP API: braid serve models/lexicon-30m", serve},
    {"route", "route requests to servers, as an EndpointPickerConfig says: braid route --endpoints a:8000,b:8000", route},
    {"sidecar", "stand in front of a decode server, so that requests are prefilled elsewhere first", sidecar},
    {"chat", "talk to a served model in the terminal", chat},
    {"top", "watch a server's ranks, or a router, in the terminal", top},
    {"trace", "what each rank did in its newest steps, for Perfetto: braid trace FILE.json", trace},
    {"bench", "measure this machine, a model, a server", bench},
    {"eval", "what a served model thinks of texts: perplexity, multiple choice", eval},
    {"simulate", "what a layout of ranks would do under a trace: braid simulate --layout 2x8P1x32D --trace FILE", simulate},
    {"inspect", "what a model folder holds, what runs it here and what it takes", inspect},
    {"autoscale", "decide how many replicas prefill and decode need, and scale them", autoscale_command},
    {"kernels", "which kernels run a model here, and why not the others", kernels},
    {"config", "every setting of serve with its value and where it comes from", config},
    {"metrics", "every metric of /metrics and what it means", metrics},
    {"bundle-report", "one file for a bug report about running servers, without secrets", bundle_report},
    {"doctor", "check this machine and a model folder", doctor},
    {"render", "render chat templates: JSON lines in, JSON lines out", render},
    {"parse", "split outputs of models into content, reasoning and tool calls: JSON lines in, JSON lines out", parse},
    {"rank", "", rank},  // started by serve
};

}  // namespace

int main(int argc, char** argv) {
  braid_text_quiet();
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && (words[0] == "--version" || words[0] == "version")) return std::printf("braid %s\n", braid::version()) < 0;
  return dispatch("braid", kCommands, words);
}
