"""A temperature converter as an HTTP arm: POST /execute does a step, the manifest says what it may be asked."""

import os

from flask import Flask, jsonify, request
from standardwebhooks import Webhook, WebhookVerificationError

NUMBER = {"type": "number"}
CELSIUS = {"type": "object", "properties": {"celsius": NUMBER}, "required": ["celsius"]}
FAHRENHEIT = {"type": "object", "properties": {"fahrenheit": NUMBER}, "required": ["fahrenheit"]}
CONVERT = {"description": "Converts degrees Celsius to Fahrenheit.", "effects": "none"}
MANIFEST = {
    "arm_id": "thermometer",
    "description": "Converts temperatures between units",
    "actions": {"convert": {**CONVERT, "input_schema": CELSIUS, "output_schema": FAHRENHEIT}},
}

app = Flask(__name__)


@app.post("/execute")
def execute():
    try:
        step = Webhook(os.environ["ARM_SECRET"]).verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return jsonify(success=False, error={"code": "not_octollm", "message": "The signature is wrong."}), 401
    if step["inputs"]["celsius"] < -273.15:
        error = {"code": "too_cold", "message": "Nothing is colder than -273.15 degrees.", "retryable": False}
        return jsonify(success=False, error=error), 422
    return jsonify(success=True, result={"fahrenheit": step["inputs"]["celsius"] * 9 / 5 + 32})


@app.get("/health")
def health():
    return jsonify(status="healthy")


@app.get("/capabilities")
def capabilities():
    return jsonify(MANIFEST)
