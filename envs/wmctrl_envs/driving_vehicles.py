"""The vehicle under control: highway-env's kinematic and dynamical bicycles, with actuators that can drift."""

import copy
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from highway_env.envs.common.action import ContinuousAction
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.dynamics import BicycleVehicle
from highway_env.vehicle.kinematics import Vehicle
from highway_env.vehicle.objects import RoadObject
from numpy.typing import NDArray

Collision = tuple[bool, bool, NDArray[np.float64]]
"""Whether two bodies overlap, whether they will within the step, and the translation that would part them [m]."""

APART: Collision = (False, False, np.zeros(2))


def too_far_to_touch(vehicle: Vehicle, other: RoadObject, dt: float) -> bool:
    """Whether one of the other body's own axes parts it from the vehicle, however both are turned.

    highway-env compares circumscribed circles only, so a long wall is always worth its exact and slow test.
    """
    x, y = (other.position - vehicle.position).tolist()
    c, s = math.cos(other.heading), math.sin(other.heading)
    reach = vehicle.diagonal / 2 + (abs(vehicle.speed) + abs(other.speed)) * dt
    along, across = abs(x * c + y * s), abs(y * c - x * s)
    return bool(along > other.LENGTH / 2 + reach or across > other.WIDTH / 2 + reach)


class KinematicCar(Vehicle):
    """highway-env's kinematic bicycle with a cheaper, equal collision test."""

    def _is_colliding(self, other: RoadObject, dt: float) -> Collision:
        return APART if too_far_to_touch(self, other, dt) else super()._is_colliding(other, dt)


class ParkingCar(KinematicCar):
    """A kinematic car that does not look up its closest lane, which nothing in a car park asks for."""

    def on_state_update(self) -> None:
        """Keep the lane found when the car was placed."""


class TyreCar(BicycleVehicle):
    """Single-track model with linear tyres (Rajamani, Vehicle Dynamics and Control, 2011, chapter 2).

    Equal to highway-env's above `SLIP_SPEED` when driving forward, but it also reverses and manoeuvres: below that
    speed the slip angles are taken at it, which turns into the kinematic bicycle as the car stops, and a step is
    divided so that the fastest lateral mode stays inside the stability region of the Runge-Kutta method.
    """

    position: NDArray[np.float64]
    heading: float
    speed: float
    lateral_speed: float
    yaw_rate: float
    SLIP_SPEED = 1.0
    """Smallest longitudinal speed at which slip angles are taken [m/s]."""
    STABLE = 2.0
    """Largest product of step and fastest rate that is integrated.

    The method damps what the plant damps up to 2.78 without oscillation, up to 2.61 with any; the rest is left for a
    car that brakes within the step.
    """

    def _is_colliding(self, other: RoadObject, dt: float) -> Collision:
        return APART if too_far_to_touch(self, other, dt) else super()._is_colliding(other, dt)

    def predict_trajectory_constant_speed(
        self, times: NDArray[np.float64]
    ) -> tuple[list[NDArray[np.float64]], list[float]]:
        """Path at `times` [s] with the steering held, on the same road; highway-env copies the road too."""
        ghost = copy.deepcopy(self, {id(self.road): self.road, id(self.lane): self.lane})
        ghost.act({"acceleration": 0.0, "steering": self.action["steering"]})
        positions, headings = [], []
        for dt in np.diff(times, prepend=0.0):
            ghost.step(dt)
            positions.append(ghost.position.copy())
            headings.append(ghost.heading)
        return positions, headings

    def step(self, dt: float) -> None:
        """Integrate over `dt` [s]."""
        self.clip_actions()
        state = (*self.position.tolist(), self.heading, self.speed, self.lateral_speed, self.yaw_rate)
        count = math.ceil(self.fastest_rate() * dt / self.STABLE)
        for _ in range(count):
            state = self._runge_kutta(state, dt / count)
        self.position = np.array(state[:2])
        self.heading, self.speed, self.lateral_speed, self.yaw_rate = state[2:]
        self.on_state_update()

    def fastest_rate(self) -> float:
        """Bound on the eigenvalues of lateral speed and yaw rate, at the present speed and for small slip [1/s].

        The eigenvalues of the matrix A of (2.21) and (2.22) are m ± sqrt(d), where m is its diagonal's mean and
        d = ((A11 - A22) / 2)^2 + A12 A21. The larger modulus is |m| + sqrt(d) where they are real, whatever their
        signs, else sqrt(m^2 - d). So |m| + sqrt(|d|) is exact or too large, by a factor of at most sqrt(2).
        """
        rolling = max(abs(self.speed), self.SLIP_SPEED)
        front, rear = 2 * self.FRICTION_FRONT / rolling, 2 * self.FRICTION_REAR / rolling
        sliding = (front + rear) / self.MASS  # -A11
        turning = (front * self.LENGTH_A**2 + rear * self.LENGTH_B**2) / self.INERTIA_Z  # -A22
        moment = front * self.LENGTH_A - rear * self.LENGTH_B
        coupling = (moment / self.MASS + self.speed) * moment / self.INERTIA_Z  # A12 A21
        return float((sliding + turning) / 2 + math.sqrt(abs(((sliding - turning) / 2) ** 2 + coupling)))

    def _runge_kutta(self, state: tuple[float, ...], dt: float) -> tuple[float, ...]:
        k1 = self._rates(state)
        k2 = self._rates(tuple(x + dt / 2 * k for x, k in zip(state, k1, strict=True)))
        k3 = self._rates(tuple(x + dt / 2 * k for x, k in zip(state, k2, strict=True)))
        k4 = self._rates(tuple(x + dt * k for x, k in zip(state, k3, strict=True)))
        slopes = zip(state, k1, k2, k3, k4, strict=True)
        return tuple(x + dt / 6 * (a + 2 * b + 2 * c + d) for x, a, b, c, d in slopes)

    def _rates(self, state: tuple[float, ...]) -> tuple[float, ...]:
        _, _, heading, speed, lateral, yaw_rate = state
        rolling = max(abs(speed), self.SLIP_SPEED)
        # Backwards the wheels meet the road from behind, so the steering's share of the slip changes its sign.
        steering = self.action["steering"] * max(-1.0, min(1.0, speed / self.SLIP_SPEED))
        slip_front = steering - math.atan2(lateral + self.LENGTH_A * yaw_rate, rolling)  # (2.25), (2.27)
        slip_rear = -math.atan2(lateral - self.LENGTH_B * yaw_rate, rolling)  # (2.26), (2.28)
        front, rear = 2 * self.FRICTION_FRONT * slip_front, 2 * self.FRICTION_REAR * slip_rear
        c, s = math.cos(heading), math.sin(heading)
        return (
            speed * c - lateral * s,
            speed * s + lateral * c,
            yaw_rate,
            self.action["acceleration"],
            (front + rear) / self.MASS - yaw_rate * speed,  # (2.21)
            (self.LENGTH_A * front - self.LENGTH_B * rear) / self.INERTIA_Z,  # (2.22)
        )


class ParkingTyreCar(TyreCar):
    """A dynamical car that does not look up its closest lane, which nothing in a car park asks for."""

    def on_state_update(self) -> None:
        """Keep the lane found when the car was placed."""


class IntersectionTraffic(IDMVehicle):
    """Traffic of the intersection, whose simulator writes its settings into the class: not into everybody's."""


class Actuation(ContinuousAction):
    """Steering and throttle commands in [-1, 1] on their way through actuators that may have changed."""

    def __init__(self, env: Any, car: Callable[..., Vehicle], dynamical_car: Callable[..., Vehicle], **config: Any):
        super().__init__(env, **config)
        self.car = dynamical_car if self.dynamical else car
        self.acceleration_gain = 1.0
        self.steering_gain = 1.0
        self.steering_bias = 0.0
        """Added to the steering angle [rad]."""
        self.under_way: deque[NDArray[np.float64]] = deque()
        """Commands not yet carried out, the oldest first."""
        self.done = np.zeros(self.size)
        """The last command that was carried out, which goes on while a delay grows."""

    @property
    def vehicle_class(self) -> Callable[..., Vehicle]:
        return self.car

    @property
    def delay(self) -> int:
        """Steps between a command and its effect."""
        return len(self.under_way)

    @delay.setter
    def delay(self, steps: int) -> None:
        missing = steps - len(self.under_way)
        self.under_way.extendleft([self.done] * missing)
        for _ in range(-missing):
            self.under_way.popleft()

    def get_action(self, action: NDArray[np.float64]) -> dict[str, float]:
        command = super().get_action(action)
        return {
            "acceleration": command["acceleration"] * self.acceleration_gain,
            "steering": command["steering"] * self.steering_gain + self.steering_bias,
        }

    def act(self, action: NDArray[np.float64]) -> None:
        self.under_way.append(np.array(action, np.float64))
        self.done = self.under_way.popleft()
        super().act(self.done)
