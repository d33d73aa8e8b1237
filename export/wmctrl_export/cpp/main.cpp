// Loads a bundle, says how long decisions take, or decides along recorded observations. See README.md.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "wmctrl/controller.hpp"

namespace {

constexpr const char* USAGE =
    "usage: runner BUNDLE --ort LIB [--golden] [--decisions N] [--drive FILE_IN FILE_OUT]\n"
    "              [--seed S] [--threads N] [--policy] [--weight NAME=VALUE]... [--limit L] [--rate R]\n"
    "              [--risk P]\n";

struct Options {
    std::string bundle, ort, drive_in, drive_out;
    std::vector<std::pair<std::string, double>> weights;
    unsigned long long seed = 0;
    int decisions = 100, threads = 1;
    float limit = 1.0f, rate = wmctrl::LARGEST_RATE, risk = 1.0f;
    bool golden_only = false, policy_only = false;
};

[[noreturn]] void misused(const std::string& reason) {
    std::fprintf(stderr, "%s\n%s", reason.c_str(), USAGE);
    std::exit(2);
}

/// The number that an option is given.
template <class Number>
Number number(const std::string& option, const std::string& text, Number low, Number high) {
    std::istringstream reading(text);
    Number found{};
    if (!(reading >> found) || !reading.eof() || text[0] == '-' || found < low || found > high) {
        std::ostringstream reason;
        reason << option << " takes a number from " << low << " to " << high << ", came '" << text << "'";
        misused(reason.str());
    }
    return found;
}

Options parsed(int count, char** words) {
    Options options;
    int at = 1;
    const auto next = [&](const std::string& option) {
        return ++at < count ? std::string(words[at]) : (misused(option + " lacks a value"), "");
    };
    for (; at < count; ++at) {
        const std::string word = words[at];
        if (word == "--ort") options.ort = next(word);
        else if (word == "--golden") options.golden_only = true;
        else if (word == "--policy") options.policy_only = true;
        else if (word == "--decisions") options.decisions = number(word, next(word), 1, 10'000'000);
        else if (word == "--threads") options.threads = number(word, next(word), 1, 1024);
        else if (word == "--limit") options.limit = number(word, next(word), 0.0f, 1.0f);
        else if (word == "--rate") options.rate = number(word, next(word), 0.0f, wmctrl::LARGEST_RATE);
        else if (word == "--risk") options.risk = number(word, next(word), 0.0f, 1.0f);
        else if (word == "--seed") options.seed = number(word, next(word), 0ull, ~0ull);
        else if (word == "--drive") options.drive_in = next(word), options.drive_out = next(word);
        else if (word == "--weight") {
            const std::string given = next(word);
            const std::size_t equals = given.find('=');
            if (equals == given.npos) misused("--weight takes NAME=VALUE, came '" + given + "'");
            const std::string name = given.substr(0, equals), value = given.substr(equals + 1);
            options.weights.emplace_back(name, number("--weight " + name, value, 0.0, wmctrl::LARGEST_WEIGHT));
        } else if (options.bundle.empty() && word[0] != '-') options.bundle = word;
        else misused("'" + word + "' is not understood");
    }
    if (options.bundle.empty() || options.ort.empty()) misused("name a bundle's folder and --ort LIB");
    return options;
}

double milliseconds(std::vector<double>& seconds, double quantile) {
    std::sort(seconds.begin(), seconds.end());
    return 1000.0 * seconds[static_cast<std::size_t>(quantile * static_cast<double>(seconds.size() - 1) + 0.5)];
}

/// Time of decisions on random observations, beside the control period.
void time_decisions(wmctrl::Controller& controller, int decisions) {
    const wmctrl::Manifest& m = controller.manifest();
    std::mt19937 generator(0);
    std::normal_distribution<float> normal;
    std::vector<float> proprio(static_cast<std::size_t>(m.proprio)), goal(static_cast<std::size_t>(m.goal));
    std::vector<std::uint8_t> camera(m.camera.empty() ? 0 : wmctrl::volume(m.camera));
    std::vector<double> seconds;
    for (int i = 0; i < decisions; ++i) {
        for (auto* part : {&proprio, &goal})
            std::generate(part->begin(), part->end(), [&] { return normal(generator); });
        std::generate(camera.begin(), camera.end(), [&] { return static_cast<std::uint8_t>(generator()); });
        seconds.push_back(controller.act({proprio, camera, goal}).seconds);
    }
    const auto late = std::count_if(seconds.begin(), seconds.end(), [&](double one) { return one > m.control_period; });
    std::printf("decision: %.2f ms p50, %.2f ms p99, %.2f ms at most; %td of %d took longer than the control period of",
                milliseconds(seconds, 0.5), milliseconds(seconds, 0.99), milliseconds(seconds, 1.0), late, decisions);
    std::printf(" %g ms\n", 1000.0 * m.control_period);
}

/// Write rows of floats as a safetensors file.
void write(const std::string& path, const std::vector<std::pair<std::string, std::vector<float>>>& arrays,
           std::size_t rows) {
    std::string header, data;
    for (const auto& [name, values] : arrays) {
        const std::string begin = std::to_string(data.size());
        data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
        header += (header.empty() ? "{\"" : ",\"") + name + "\":{\"dtype\":\"F32\",\"shape\":[" + std::to_string(rows) +
                  "," + std::to_string(values.size() / rows) + "],\"data_offsets\":[" + begin + "," +
                  std::to_string(data.size()) + "]}";
    }
    header += "}";
    std::string length;
    for (std::size_t i = 0; i < 8; ++i) length += static_cast<char>(std::uint64_t{header.size()} >> 8 * i);
    std::ofstream file(path, std::ios::binary);
    file << length << header << data;
    if (!file.flush()) wmctrl::fail(path + ": cannot be written");
}

/// Refuse recorded observations that lack what the bundle takes, or hold something else.
void hold_parts(const wmctrl::Tensors& seen, const wmctrl::Manifest& m, const std::string& from) {
    std::vector<std::string> known;
    if (m.proprio) known.push_back("proprio");
    if (!m.camera.empty()) known.push_back("camera");
    if (m.goal) known.push_back("goal");
    const std::string takes = ", the bundle takes " + wmctrl::listed(known);
    for (const auto& entry : seen)
        if (std::find(known.begin(), known.end(), entry.first) == known.end())
            wmctrl::fail(from, ": holds '", wmctrl::shown(entry.first), "'", takes);
    for (const std::string& name : known) {
        if (!seen.count(name)) wmctrl::fail(from, ": lacks ", name, takes);
        if (seen.at(name).is_bytes != (name == "camera"))
            wmctrl::fail(from, ": ", name, " must be of ", name == "camera" ? "uint8" : "float32");
    }
}

/// Decide along recorded observations: arrays proprio (T, O), goal (T, G) and camera (T, h, w, c), as the bundle takes
/// them.
std::size_t drive(wmctrl::Controller& controller, const std::string& from, const std::string& to) {
    const wmctrl::Tensors seen = wmctrl::parse_tensors(wmctrl::read_bounded(from, std::size_t{1} << 30), from);
    hold_parts(seen, controller.manifest(), from);
    const std::size_t steps = seen.empty() ? 0 : seen.begin()->second.rows();
    for (const auto& entry : seen)
        if (entry.second.rows() != steps) wmctrl::fail(from + ": its arrays differ in length");
    if (steps == 0) wmctrl::fail(from + ": holds no observations");
    static const wmctrl::Tensor absent;
    const auto named = [&](const char* name) -> const wmctrl::Tensor& {
        return seen.count(name) ? seen.at(name) : absent;
    };
    const auto row = [&](const auto& held, std::size_t step) {
        const std::size_t size = held.size() / steps;
        return wmctrl::Span(held.data() + step * size, size);
    };
    std::vector<std::pair<std::string, std::vector<float>>> found = {
        {"command", {}}, {"surprise", {}}, {"health", {}}, {"seconds", {}}};
    for (std::size_t step = 0; step < steps; ++step) {
        const wmctrl::Action& action = controller.act(
            {row(named("proprio").floats, step), row(named("camera").bytes, step), row(named("goal").floats, step)});
        found[0].second.insert(found[0].second.end(), action.command.begin(), action.command.end());
        found[1].second.push_back(action.surprise);
        found[2].second.insert(found[2].second.end(), action.health.begin(), action.health.end());
        found[3].second.push_back(static_cast<float>(action.seconds));
    }
    write(to, found, steps);
    return steps;
}

}  // namespace

int main(int count, char** words) {
    const Options options = parsed(count, words);
    try {
        const auto began = std::chrono::steady_clock::now();
        wmctrl::Controller controller =
            wmctrl::Controller::load(options.bundle, options.ort, options.threads, options.policy_only);
        const double loaded = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        std::printf("%s: loaded, checked and golden steps repeated in %.2f s\n", controller.manifest().task.c_str(),
                    loaded);
        for (const auto& [name, weight] : options.weights) controller.set_weight(name, weight);
        const auto actions = static_cast<std::size_t>(controller.manifest().action);
        controller.set_limits(std::vector<float>(actions, -options.limit), std::vector<float>(actions, options.limit));
        controller.set_rate(std::vector<float>(actions, options.rate));
        controller.set_risk(options.risk);
        controller.reset(options.seed);
        if (options.golden_only) return 0;
        if (options.drive_in.empty()) time_decisions(controller, options.decisions);
        else std::printf("decided along %zu observations\n", drive(controller, options.drive_in, options.drive_out));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "refused: %s\n", error.what());
        return 1;
    }
    return 0;
}
