"""`/settings`: what the operator chose, and what is as it comes."""

from typing import Annotated

from service.api.deps import ServicesDep
from service.api.routing import protected_router, requires
from service.api.schemas.settings import SettingsView, SettingView, VersionsView
from service.auth.subjects import Scope, Subject
from service.settings_shown import shown
from service.versions import versions

router = protected_router("/settings", tags=["settings"])


@router.get("")
def list_settings(
    subject: Annotated[Subject, requires(Scope.KEYS_ADMIN)],  # noqa: ARG001
    services: ServicesDep,
) -> SettingsView:
    """The settings and versions of the API process that answers, without secrets.

    Workers and the reaper read their own environments.
    """
    return SettingsView(
        versions=VersionsView.model_validate(versions()),
        data=[SettingView.model_validate(setting) for setting in shown(services.settings)],
    )
