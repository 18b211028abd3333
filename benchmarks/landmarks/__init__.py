"""Landmarks of few pictures: sets that are drawn or cut out here, and what is reached on them."""
