from tests.integration.conftest import machine, quick_settings

__all__ = ["machine", "quick_settings"]
