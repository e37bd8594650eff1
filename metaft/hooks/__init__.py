"""What a method may change in a training step: hooks, in the final loop and in the inner loop alike."""

from metaft.hooks.hook import PLAIN, Hook, State
from metaft.hooks.knobs import Knob
from metaft.hooks.registry import HOOKS, HookOptions, hook_for

__all__ = ["HOOKS", "PLAIN", "Hook", "HookOptions", "Knob", "State", "hook_for"]
