"""What all tests share."""

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the example.
settings.register_profile(
    "busy machines", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machines")
