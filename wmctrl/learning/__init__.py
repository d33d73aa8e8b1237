"""Learns model, actor and critic from replay, and evaluates what was learned."""
