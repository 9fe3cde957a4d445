"""`tasker_core.registry`: resolvers."""

from tasker_actors.steps.resolvers.builtin import ClassLookupResolver, ExplicitMappingResolver
from tasker_actors.steps.resolvers.chain import ResolutionError, ResolverChain, ResolverNotFoundError
from tasker_actors.steps.resolvers.definition import HandlerDefinition, MethodDispatchWrapper
from tasker_actors.steps.resolvers.resolver import BaseResolver, RegistryResolver

__all__ = [
    "BaseResolver",
    "ClassLookupResolver",
    "ExplicitMappingResolver",
    "HandlerDefinition",
    "MethodDispatchWrapper",
    "RegistryResolver",
    "ResolutionError",
    "ResolverChain",
    "ResolverNotFoundError",
]
