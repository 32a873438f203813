"""The endpoint GET /v1/recipes: the plans that need no model, by name, with the values that they take."""

from flask import Blueprint, Response, jsonify
from marshmallow import fields

from api.middleware.auth import requires
from api.schemas.operation import describes
from api.schemas.responses import ResponseSchema
from orchestrator.auth.credential import Principal
from orchestrator.planner.recipes import describe, loaded

blueprint = Blueprint("recipes", __name__, url_prefix="/v1")


class ParameterSchema(ResponseSchema):
    """A value that a recipe takes; `schema` is its JSON Schema."""

    name = fields.String()
    schema = fields.Dict()
    description = fields.String()
    required = fields.Boolean()
    default = fields.Raw(allow_none=True)


class RecipeSchema(ResponseSchema):
    """A recipe: what it does, an example of a goal that it fits, what has to be attached, and its parameters."""

    recipe = fields.String()
    version = fields.String()
    description = fields.String()
    say = fields.String()
    needs = fields.String()
    origin = fields.String()
    parameters = fields.List(fields.Nested(ParameterSchema))


class LeftOutSchema(ResponseSchema):
    """A file in RECIPES_PATH that holds no usable recipe; `recipe` is its name if the file has one."""

    file = fields.String()
    recipe = fields.String()
    reason = fields.String()


class RecipeListSchema(ResponseSchema):
    """All recipes of this server, and the files of its operator that can't be used."""

    recipes = fields.List(fields.Nested(RecipeSchema))
    left_out = fields.List(fields.Nested(LeftOutSchema))


@blueprint.get("/recipes")
@describes({200: RecipeListSchema})
@requires("arm:list")
def index(principal: Principal) -> Response:
    """List the recipes: plans without a model, which a task names in `recipe` or chooses by its goal's words."""
    found = loaded()
    return jsonify(recipes=[describe(one) for one in found.by_name.values()], left_out=list(found.left_out))
