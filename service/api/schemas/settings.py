"""What `/settings` answers."""

from pydantic import Field

from service.api.schemas.base import View

Value = bool | int | float | str | list[str] | None


class VersionsView(View):
    reprise: str
    python: str
    torch: str


class SettingView(View):
    name: str = Field(description="Of the environment variable, or of the file of a secret.")
    group: str
    description: str
    value: Value = Field(description="Passwords in URLs are ***; other secrets `set` or `not set`.")
    default: Value
    required: bool = Field(description="There is no default.")
    changed: bool = Field(description="It has a default and another value.")
    secret: bool


class SettingsView(View):
    versions: VersionsView
    data: list[SettingView]
