# SPDX-License-Identifier: Apache-2.0
"""More than 200 JSON schemas, each with documents sampled at a high temperature. usage: structured_test.py BRAID MODEL"""
import concurrent.futures
import json
import unittest

import jsonschema

from server import Server

TEMPERATURE = 1.8
SAMPLES = 2


def integer(**bounds):
    return {"type": "integer", **bounds}


def text(**bounds):
    return {"type": "string", **bounds}


def record(required, optional=()):
    """An object with these members and no others."""
    members = {**required, **dict(optional)}
    return {"type": "object", "properties": members, "required": list(required), "additionalProperties": False}


SMALL = integer(minimum=0, maximum=9)
FLAG = {"type": "boolean"}

INTEGERS = [integer(minimum=low, maximum=high) for low, high in ((0, 0), (0, 9), (7, 12), (99, 101), (-5, 5), (-120, -99), (1, 1000), (-1, 10**6))]
INTEGERS += [integer(exclusiveMinimum=2, maximum=5), integer(minimum=2, exclusiveMaximum=4), integer(minimum=0, maximum=100, multipleOf=7)]
NUMBERS = [{"type": "number", "minimum": low, "maximum": high, "multipleOf": 0.25} for low, high in ((0, 1), (-2.5, 2.5), (10, 11), (0.25, 0.5))]
TEXTS = [text(minLength=low, maxLength=high) for low, high in ((0, 0), (1, 1), (0, 3), (2, 6), (5, 5))]
TEXTS += [text(pattern=p) for p in ("^[a-z]{3}$", "^[0-9]{2}-[0-9]{2}$", "^(red|green|blue)$", "^a+b{2}$", "^[A-Z][a-z]{1,4}$", "^x?y?z$", "^[^a-z]{2}$", "^(ab){1,3}$")]
TEXTS += [text(format=f) for f in ("date", "uuid", "ipv4")]
ENUMS = [{"enum": values} for values in (["a"], ["yes", "no"], [1, 2, 3], [None], [True, "true"], ["a \"quoted\" word", "ü"], [1.5, "x", None], [[1], {"a": 1}])]
CONSTS = [{"const": value} for value in ("fixed", 7, None, True, [1, "a"], {"k": [1, 2]})]
KINDS = [FLAG, {"type": "null"}, {"type": ["boolean", "null"]}, {"type": ["integer", "null"], "minimum": 1, "maximum": 3}]
LISTS = [{"type": "array", "items": item, "minItems": low, "maxItems": high}
         for item in (SMALL, FLAG, text(maxLength=2)) for low, high in ((0, 0), (0, 2), (1, 3), (2, 2))]
LISTS += [{"type": "array", "prefixItems": [SMALL, FLAG], "items": False}, {"type": "array", "prefixItems": [SMALL], "items": FLAG, "maxItems": 3}]
RECORDS = [record({}), record({"a": SMALL}), record({"a": SMALL, "b": FLAG}), record({}, {"a": SMALL}.items()), record({"a": SMALL}, {"b": FLAG, "c": SMALL}.items()),
           record({}, {"a": FLAG, "b": FLAG, "c": FLAG}.items()), record({"z": FLAG, "a": record({"deep": record({"er": SMALL})})}),
           record({"ä ö": FLAG, "quoted \"key\"": SMALL}), record({"list": LISTS[2], "kind": ENUMS[1]})]
CHOICES = [{"anyOf": [SMALL, FLAG]}, {"anyOf": [record({"a": SMALL}), record({"b": FLAG})]}, {"anyOf": [{"type": "null"}, text(maxLength=3)]},
           {"oneOf": [SMALL, {"type": "null"}]}, {"oneOf": [record({"kind": {"const": "x"}, "n": SMALL}), record({"kind": {"const": "y"}})]},
           {"allOf": [integer(minimum=0), {"maximum": 5}]}, {"allOf": [{"type": "integer", "minimum": 3}, {"type": "integer", "maximum": 4}]}]
REFERENCES = [{"$defs": {"n": SMALL}, "$ref": "#/$defs/n"}, {"$defs": {"n": SMALL}, **record({"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}})},
              {"$defs": {"node": record({"v": FLAG}, {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}.items())}, "$ref": "#/$defs/node"}]
BASE = [*INTEGERS, *NUMBERS, *TEXTS, *ENUMS, *CONSTS, *KINDS, *LISTS, *RECORDS, *CHOICES]
SCHEMAS = [*BASE, *(record({"value": s}) for s in BASE), *({"type": "array", "items": s, "minItems": 1, "maxItems": 2} for s in BASE), *REFERENCES]


class Structured(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-num-seqs", "32")

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def documents(self, schema):
        body = {"messages": [{"role": "user", "content": "Anything"}], "temperature": TEMPERATURE, "n": SAMPLES, "seed": 11, "max_tokens": 300,
                "response_format": {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}}
        status, answer = self.server.post("/v1/chat/completions", body)
        assert status == 200, (schema, answer)
        return [choice["message"]["content"] for choice in answer["choices"] if choice["finish_reason"] == "stop"]

    def test_every_document_is_valid(self):
        self.assertGreater(len(SCHEMAS), 200)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for schema, found in zip(SCHEMAS, pool.map(self.documents, SCHEMAS)):
                with self.subTest(schema=schema):
                    self.assertTrue(found, "no document came to its end")
                    for document in found:
                        jsonschema.validate(json.loads(document), schema, cls=jsonschema.Draft202012Validator, format_checker=jsonschema.FormatChecker())

    def test_what_a_grammar_cannot_hold_is_refused(self):
        for schema in ({"type": "array", "items": SMALL, "uniqueItems": True}, {"not": {"type": "null"}}, {"type": "nothing"}):
            status, answer = self.server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 20,
                "response_format": {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}})
            self.assertEqual((status, answer["error"]["param"]), (400, "structured_outputs"), schema)


if __name__ == "__main__":
    unittest.main(argv=["structured_test.py"], verbosity=2)
