"""A picture from above, drawn by highway-env without any display."""

import numpy as np
import pygame
from highway_env.road.graphics import RoadGraphics, WorldSurface
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario

TARGET = (100, 200, 255)
"""Colour of the place to reach."""


class TopDown:
    """Draws a square of the world, larger than asked for and then averaged, so that small motions show."""

    def __init__(self, size: int, oversampling: int):
        self.size = size
        drawn = (size * oversampling, size * oversampling)
        self.surface = WorldSurface(drawn, 0, pygame.Surface(drawn))
        self.surface.centering_position = [0.5, 0.5]

    def __call__(self, scenario: Scenario) -> NDArray[np.uint8]:
        """Picture (size, size, 3) of what lies within the scenario's `PICTURE_SPAN`."""
        road = scenario.road
        self.surface.scaling = self.surface.get_width() / scenario.PICTURE_SPAN
        self.surface.move_display_window_to(scenario.picture_centre())
        RoadGraphics.display(road, self.surface)
        if corners := scenario.target():
            pygame.draw.polygon(self.surface, TARGET, [self.surface.vec2pix(corner) for corner in corners])
        RoadGraphics.display_road_objects(road, self.surface, offscreen=True)
        frequency = scenario.config["simulation_frequency"]
        RoadGraphics.display_traffic(road, self.surface, simulation_frequency=frequency, offscreen=True)
        picture = pygame.transform.smoothscale(self.surface, (self.size, self.size))
        return np.ascontiguousarray(pygame.surfarray.array3d(picture).swapaxes(0, 1))
