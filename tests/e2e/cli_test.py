# SPDX-License-Identifier: Apache-2.0
"""What the commands say to people who err. usage: cli_test.py BRAID MODEL"""
import contextlib
import http.server
import json
import os
import pathlib
import pty
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import xml.etree.ElementTree as xml

BRAID, MODEL = sys.argv[1:3]
DEADLINE_S = 120


def braid(*words, text=""):
    done = subprocess.run([BRAID, *words], input=text, capture_output=True, text=True, timeout=DEADLINE_S)
    return done.returncode, done.stdout, done.stderr


def on_terminal(*words):
    """The exit status, and what a terminal behind stderr was sent."""
    terminal, process_end = pty.openpty()
    process = subprocess.Popen([BRAID, *words], stderr=process_end, stdout=subprocess.DEVNULL)
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    os.close(process_end)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the process has ended
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    status = process.wait()
    watchdog.cancel()
    return status, shown.decode()


@contextlib.contextmanager
def server(status, body, kind="application/json"):
    """Answers every request alike."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def event(value):
    return f"data: {json.dumps(value)}\n\n"


def chunk(text):
    return event({"choices": [{"delta": {"content": text}}]})


class WrongWords(unittest.TestCase):
    def refused(self, *words, status=2):
        found, _, error = braid(*words)
        self.assertEqual(found, status, error)
        self.assertEqual(len(error.splitlines()), 1, error)
        return error

    def test_every_command_has_help(self):
        for words in (["serve"], ["chat"], ["bench"], ["bench", "machine"], ["bench", "engine"], ["bench", "serve"], ["bench", "eplb"], ["kernels"], ["config"],
                      ["metrics"], ["doctor"], ["render"]):
            status, out, _ = braid(*words, "--help")
            self.assertIn(f"sage: braid {' '.join(words)}", out)
            self.assertEqual(status, 0)

    def test_an_unknown_command_is_told_the_nearest(self):
        self.assertIn("no command 'serv'; did you mean braid serve?", self.refused("serv"))
        self.assertIn("no command 'engin'; did you mean braid bench engine?", self.refused("bench", "engin"))
        self.assertIn("no command 'qqqqqq'; braid --help lists them", self.refused("qqqqqq"))

    def test_commands_that_need_a_model_say_so(self):
        self.assertIn("braid serve models/", self.refused("serve"))
        self.assertIn("braid bench engine models/", self.refused("bench", "engine"))
        self.assertIn("--zipf EXPONENT", self.refused("bench", "eplb"))

    def test_an_unknown_kernel_or_operation_is_told_what_there_is(self):
        self.assertIn("no kernel 'mmx'; there are", self.refused("kernels", MODEL, "--kernel", "mmx"))
        self.assertIn("no operation 'linea'; there are", self.refused("kernels", MODEL, "--kernel", "linea=avx2"))

    def test_a_folder_that_is_none_is_named_and_the_hub_is_mentioned_for_its_names(self):
        error = self.refused("serve", "deepseek-ai/DeepSeek-V2-Lite", status=1)
        self.assertRegex(error, "^braid: deepseek-ai/DeepSeek-V2-Lite is not a folder.*hf download")
        self.assertNotIn("hf download", self.refused("serve", "/nowhere", status=1))

    def test_a_folder_without_config_json_is_no_model(self):
        with tempfile.TemporaryDirectory() as folder:
            for command in ("serve", "doctor", "kernels"):
                self.assertIn(f"can't read {folder}/config.json: there is none", self.refused(command, folder, status=1))

    def test_inspect_says_what_is_wrong_with_a_folder(self):
        def error(folder):
            status, _, text = braid("inspect", str(folder))
            self.assertIn(status, (1, 2))
            self.assertEqual(len(text.splitlines()), 1, text)
            return text.strip()

        self.assertEqual(error("/nowhere"), "braid: /nowhere is not a folder; name a Hugging Face model folder on disk")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file in pathlib.Path(MODEL).iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            config, shard = folder / "config.json", folder / "model-00002-of-00002.safetensors"
            right, data = config.read_text(), shard.read_bytes()
            config.write_text("{")
            self.assertEqual(error(folder), f"braid: {config} is not a JSON object")
            config.write_text(right.replace("DeepseekV3ForCausalLM", "OtherForCausalLM"))
            self.assertIn("architecture 'OtherForCausalLM' is not supported (supported: DeepseekV2ForCausalLM, ", error(folder))
            config.write_text(right)
            shard.write_bytes(data[:-1])
            self.assertRegex(error(folder), f"^braid: {shard}: tensor .* lie outside the file's .* \\(is the file truncated\\?\\)$")
            shard.write_bytes(data[:5])
            self.assertEqual(error(folder), f"braid: {shard}: expected a safetensors file, found 5 bytes")
            shard.unlink()
            self.assertIn(shard.name, error(folder))

    def test_a_quantised_checkpoint_is_not_quantised_again(self):
        status, out, _ = braid("inspect", MODEL, "--quantization", "fp8")
        self.assertEqual(status, 0)
        self.assertIn("FP8 in blocks of 128 x 128", out)
        self.assertIn("quantization", self.refused("inspect", MODEL, "--quantization", "int9"))

    def test_a_cache_beyond_the_memory_is_refused(self):
        _, _, error = braid("serve", MODEL, "--port", "0", "--kv-cache-memory-bytes", "1000000g")
        self.assertIn("--kv-cache-memory-bytes", error.splitlines()[-1])

    def test_a_taken_port_is_told_before_the_model_is_loaded(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = self.refused("serve", MODEL, "--host", "127.0.0.1", "--port", str(port))
        self.assertIn(f"can't listen on 127.0.0.1:{port}", error)
        self.assertIn("--port", error)

    def test_an_output_that_cannot_be_written_is_told_before_the_work(self):
        self.assertIn("can't write /nowhere/x.json: No such file", self.refused("bench", "engine", MODEL, "--json", "/nowhere/x.json"))
        self.assertIn("can't write /nowhere/x.svg: No such file", self.refused("bench", "serve", "http://127.0.0.1:9", "--svg", "/nowhere/x.svg"))

    def test_bench_eplb_tells_and_draws_balance_before_and_after(self):
        with tempfile.TemporaryDirectory() as folder:
            loads, svg = pathlib.Path(folder, "loads.csv"), pathlib.Path(folder, "loads.svg")
            loads.write_text("90,132,40,61,104,165,39,4,73,56,183,86\n20,107,104,64,19,197,187,157,172,86,16,27\n")
            status, out, error = braid("bench", "eplb", str(loads), "--ranks", "8", "--nodes", "2", "--groups", "4",
                                       "--num-redundant-experts", "4", "--svg", str(svg))
            self.assertEqual(status, 0, error)
            self.assertIn("policy hierarchical", out)
            self.assertIn("0.828", out)  # 1 / 1.2081
            self.assertIn("0.805", out)  # 1 / 1.2422
            self.assertEqual(svg.read_text().count("<rect"), 1 + 2 * 2 * 8)

    def test_bench_serve_prints_no_figures_when_nothing_answered(self):
        with server(404, '{"error":{"message":"no such model"}}') as url:
            status, out, error = braid("bench", "serve", url, "--num-prompts", "3")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no such model", error)


class Chat(unittest.TestCase):
    def test_a_refusal_is_shown_in_the_servers_words(self):
        with server(404, '{"error":{"message":"The model does not exist"}}') as url:
            status, _, error = braid("chat", url, text="hi\n")
        self.assertEqual((status, error), (1, "braid: the server answered 404: The model does not exist\n"))

    def test_an_answer_that_breaks_off_is_an_error(self):
        with server(200, chunk("The riv") + event({"error": {"message": "out of blocks"}}), "text/event-stream") as url:
            status, out, error = braid("chat", url, text="hi\n")
        self.assertIn("The riv", out)
        self.assertEqual((status, error), (1, "braid: the answer broke off: out of blocks\n"))

    def test_no_server_is_told_with_its_address(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        status, _, error = braid("chat", f"http://127.0.0.1:{port}", text="hi\n")
        self.assertEqual(status, 1)
        self.assertRegex(error, f"is braid serve running there.*127.0.0.1:{port}")

    def test_commands_are_no_questions(self):
        with server(200, chunk("Hello.") + "data: [DONE]\n\n", "text/event-stream") as url:
            status, out, _ = braid("chat", url, text="/rest\nhi\n/quit\nhi\n")
        self.assertEqual(status, 0)
        self.assertIn("there is no /rest, only /reset and /quit", out)
        self.assertEqual(out.count("Hello."), 1)


class Output(unittest.TestCase):
    def test_bench_serve_draws_three_curves_and_writes_the_figures(self):
        stream = chunk("a") + chunk("b") + event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}) + "data: [DONE]\n\n"
        with server(200, stream, "text/event-stream") as url, tempfile.TemporaryDirectory() as folder:
            svg, figures = pathlib.Path(folder, "plot.svg"), pathlib.Path(folder, "figures.json")
            status, out, error = braid("bench", "serve", url, "--num-prompts", "4", "--svg", str(svg), "--json", str(figures))
            self.assertEqual(status, 0, error)
            curves = [path for path in xml.parse(svg).iter("{http://www.w3.org/2000/svg}path") if path.get("fill") == "none"]
            self.assertEqual(json.loads(figures.read_text())["completed"], 4)
        self.assertEqual(len(curves), 3)
        self.assertRegex(out, r"^4 requests in .* s, 0 failed\n")
        self.assertRegex(out, r"time to first token +[0-9.]+ +[0-9.]+ +[0-9.]+\n")

    def test_loading_is_drawn_on_a_terminal_and_wiped_at_the_end(self):
        status, shown = on_terminal("kernels", MODEL)
        self.assertEqual(status, 0)
        self.assertRegex(shown, r"\rloading weights \[#* *\] +[0-9]+ % [0-9]+ MiB")
        self.assertTrue(shown.endswith("\r\033[K"), shown[-40:])

    def test_loading_a_small_model_prints_nothing_elsewhere(self):
        self.assertEqual(braid("kernels", MODEL)[2], "")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
