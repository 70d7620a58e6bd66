"""The one way in which policies compose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast._core.validate import text
from holdfast.policies.base import Inner, Policy, Reject
from holdfast.policies.layers import bind_async, bind_sync
from holdfast.policies.order import check_order

if TYPE_CHECKING:
    from holdfast._core.snapshots import PipelineSnapshot


class Pipeline(Policy):
    """Several policies around one call; the first listed is the outermost.

    Args:
        name: the name of the dependency, for errors, events and snapshots; policies without a
            name of their own take it over.
        policies: at least one. A policy object may be part of several pipelines, which then share
            its state. A pipeline among them stands for its policies.

    Raises:
        ConfigurationError: the policies cannot work in this order; the message says what to write
            instead. An order that is rarely meant draws a `PipelineOrderWarning`.

    Layers are bound once per decorated function into plain closures. Thread safe.
    """

    kind = "pipeline"
    __slots__ = ("_policies",)

    def __init__(self, name: str, *policies: Policy) -> None:
        if isinstance(name, Policy):
            raise TypeError('a pipeline needs a name first: Pipeline("user-db", Retry(), ...)')
        super().__init__(text("name", name), None, None)
        for policy in policies:
            if not isinstance(policy, Policy):
                raise TypeError(f"{policy!r} is not a policy; write for example Retry(attempts=3)")
        self._policies = tuple(part for policy in policies for part in policy._parts())
        if not self._policies:
            raise TypeError("a pipeline needs at least one policy")
        check_order(name, self._policies, stacklevel=2)
        for policy in self._policies:
            policy._adopt(name)

    @property
    def policies(self) -> Sequence[Policy]:
        """The policies, outermost first."""
        return self._policies

    def snapshot(self) -> PipelineSnapshot:
        """The snapshots of all policies at this moment."""
        from holdfast._core.snapshots import PipelineSnapshot

        return PipelineSnapshot(self.name, tuple(policy.snapshot() for policy in self._policies))

    def _parts(self) -> tuple[Policy, ...]:
        return self._policies

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        return bind_sync(self._policies, inner, reject)

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        return bind_async(self._policies, inner, reject)

    def _bind_generator(self, inner: Inner) -> Inner:
        for policy in reversed(self._policies):
            inner = policy._bind_generator(inner)
        return inner

    def _bind_async_generator(self, inner: Inner) -> Inner:
        for policy in reversed(self._policies):
            inner = policy._bind_async_generator(inner)
        return inner
