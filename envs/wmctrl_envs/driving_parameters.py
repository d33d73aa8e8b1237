"""Physical properties of the driving plants that can be changed while they run."""

from collections.abc import Mapping

import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from wmctrl_envs.driving_scenario import Scenario, TargetSpeed
from wmctrl_envs.driving_vehicles import TyreCar
from wmctrl_envs.task import Parameter

LENGTH = Parameter("length", "m", 5.0, 3.5, 7.0, "Length of the car and, in proportion, its wheelbase.")
STEERING_GAIN = Parameter("steering_gain", "1", 1.0, 0.3, 1.5, "Steering angle reached, relative to the one commanded.")
STEERING_BIAS = Parameter("steering_bias", "rad", 0.0, -0.2, 0.2, "Steering angle of a wheel said to be straight.")
ACTION_DELAY = Parameter("action_delay", "1", 0.0, 0.0, 5.0, "Whole control periods between a command and its effect.")
ACCELERATION_GAIN = Parameter(
    "acceleration_gain", "1", 1.0, 0.3, 1.5, "Acceleration reached, relative to the one commanded."
)
FRICTION = Parameter("friction", "1", 1.0, 0.1, 1.5, "Cornering stiffness of all tyres, relative to nominal.")
FRICTION_FRONT = Parameter("friction_front", "1", 1.0, 0.1, 1.5, "Cornering stiffness of the front tyres alone.")
MASS = Parameter("mass", "kg", 1.0, 0.5, 3.0, "Mass and, in proportion, yaw inertia.")
TRAFFIC_SPEED = Parameter("traffic_speed", "1", 1.0, 0.3, 1.5, "Speed the traffic wants, relative to nominal.")
TRAFFIC_TIME_GAP = Parameter("traffic_time_gap", "s", 1.5, 0.2, 4.0, "Time the traffic keeps to a vehicle in front.")
TRAFFIC_POLITENESS = Parameter(
    "traffic_politeness", "1", 0.0, 0.0, 1.0, "Weight the traffic gives to others' braking when it changes lane."
)
TRAFFIC_BRAKING = Parameter(
    "traffic_braking_imposed", "m/s^2", 2.0, 0.5, 9.0, "Braking the traffic is ready to force on others to change lane."
)


def parameters_of(scenario: Scenario) -> tuple[Parameter, ...]:
    """What can be changed in this scenario as it is configured."""
    steered = (STEERING_GAIN, STEERING_BIAS, ACTION_DELAY)
    driven = (ACCELERATION_GAIN,) if scenario.action_type.longitudinal else ()
    car = (FRICTION, FRICTION_FRONT, MASS) if scenario.action_type.dynamical else (LENGTH,)
    count = len(traffic(scenario))
    others = (TRAFFIC_SPEED,) if count else ()
    manners = (TRAFFIC_TIME_GAP, TRAFFIC_POLITENESS, TRAFFIC_BRAKING) if count > 1 else ()
    return steered + driven + car + others + manners


def apply(scenario: Scenario, values: Mapping[str, float]) -> None:
    """Give the running scenario a full set of values, those of `parameters_of`."""
    actuation = scenario.action_type
    actuation.steering_gain = values["steering_gain"]
    actuation.steering_bias = values["steering_bias"]
    actuation.delay = round(values["action_delay"])
    actuation.acceleration_gain = values.get("acceleration_gain", 1.0)
    if actuation.dynamical:
        _set_tyres(scenario.vehicle, values)
    else:
        _set_length(scenario.vehicle, values["length"])
    set_traffic(scenario, values)


def _set_tyres(car: TyreCar, values: Mapping[str, float]) -> None:
    car.FRICTION_REAR = TyreCar.FRICTION_REAR * values["friction"]
    car.FRICTION_FRONT = TyreCar.FRICTION_FRONT * values["friction"] * values["friction_front"]
    car.MASS = TyreCar.MASS * values["mass"]
    car.INERTIA_Z = TyreCar.INERTIA_Z * values["mass"]


def _set_length(car: Vehicle, length: float) -> None:
    car.LENGTH = length
    car.diagonal = float(np.hypot(length, car.WIDTH))


def set_traffic(scenario: Scenario, values: Mapping[str, float]) -> None:
    """Give every vehicle of the traffic, also one that has just appeared, its wanted speed and its manners."""
    if "traffic_speed" in values:
        _set_traffic_speed(scenario, values["traffic_speed"])
    if "traffic_time_gap" in values:
        _set_traffic_manners(scenario, values)


def _set_traffic_speed(scenario: Scenario, factor: float) -> None:
    before, scenario.target_speeds = scenario.target_speeds, {}
    for vehicle in traffic(scenario):
        speed = before.get(vehicle)
        # A speed that was not given here is highway-env's: of a new vehicle, or one that gives way or has done so.
        nominal = speed.nominal if speed and vehicle.target_speed == speed.given else vehicle.target_speed
        vehicle.target_speed = factor * nominal
        scenario.target_speeds[vehicle] = TargetSpeed(nominal, vehicle.target_speed)


def _set_traffic_manners(scenario: Scenario, values: Mapping[str, float]) -> None:
    for vehicle in traffic(scenario):
        vehicle.TIME_WANTED = values["traffic_time_gap"]
        vehicle.POLITENESS = values["traffic_politeness"]
        vehicle.LANE_CHANGE_MAX_BRAKING_IMPOSED = values["traffic_braking_imposed"]


def traffic(scenario: Scenario) -> list[IDMVehicle]:
    """The vehicles that drive themselves."""
    return [vehicle for vehicle in scenario.road.vehicles if isinstance(vehicle, IDMVehicle)]
