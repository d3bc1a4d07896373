// A network in C++: loaded, trained on an image, saved, loaded again and applied by several threads.
// c++ network.cpp $(pkg-config --cflags --libs znn) && ./a.out network.znn model.safetensors
#include <array>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <znn.h>

using Extent = std::array<size_t, 3>;

static void check(znn_status status) {
    if (status != ZNN_STATUS_OK) throw std::runtime_error(znn_last_error());
}

static size_t len(const Extent &extent) { return extent[0] * extent[1] * extent[2]; }

struct Free {
    void operator()(znn_engine *engine) const { znn_engine_free(engine); }
    void operator()(znn_network *network) const { znn_network_free(network); }
};

class Network {
  public:
    Network(const znn_engine *engine, const std::string &file) {
        znn_network *made = nullptr;
        check(znn_network_load(engine, file.c_str(), 1, &made));
        handle.reset(made);
        check(znn_network_maps(made, &maps_in, &maps_out));
        check(znn_training_options_init(&training));
    }

    std::vector<float> forward(const std::vector<float> &x, const Extent &image) const {
        Extent output;
        check(znn_network_output_extent(handle.get(), image.data(), output.data()));
        std::vector<float> y(maps_out * len(output));
        check(znn_network_forward(handle.get(), x.data(), image.data(), y.data()));
        return y;
    }

    double train(const std::vector<float> &x, const std::vector<float> &target, const Extent &output) {
        double loss = 0.0;
        check(znn_network_train_step(handle.get(), x.data(), target.data(), output.data(), &training, &loss));
        return loss;
    }

    void save(const std::string &file) const { check(znn_network_save(handle.get(), file.c_str())); }

    size_t maps_in = 0, maps_out = 0;
    znn_training_options training;

  private:
    std::unique_ptr<znn_network, Free> handle;
};

int main(int count, char **arguments) try {
    if (count != 3) throw std::runtime_error("usage: network FILE.znn FILE.safetensors");
    znn_engine_options options{};
    options.threads = 2;
    znn_engine *made = nullptr;
    check(znn_engine_new(&options, &made));
    std::unique_ptr<znn_engine, Free> engine(made);

    Network network(engine.get(), arguments[1]);
    network.training.rate = 0.05f;
    const Extent image{8, 20, 20}, output{4, 12, 12};
    std::vector<float> x(network.maps_in * len(image));
    for (size_t i = 0; i < x.size(); i++) x[i] = std::sin(0.37f * static_cast<float>(i));
    std::vector<float> target(network.maps_out * len(output), 1.0f);
    double first = network.train(x, target, output), last = first;
    for (int i = 0; i < 20; i++) last = network.train(x, target, output);
    std::printf("loss from %.3f to %.3f\n", first, last);
    if (!(last < 0.5 * first)) return 1;

    // Other options; what makes no sense is told, and trains nothing.
    Network other(engine.get(), arguments[1]);
    other.training.optimiser = ZNN_OPTIMISER_ADAMW;
    other.training.clip_norm = 1.0f;
    other.training.batch = 2;
    for (int i = 0; i < 60; i++) last = other.train(x, target, output);
    std::printf("by AdamW to %.3f\n", last);
    if (!(last < 0.5 * first)) return 1;
    other.training.betas[1] = 1.0;
    try {
        other.train(x, target, output);
        return 1;
    } catch (const std::runtime_error &error) {
        std::printf("as it should be: %s\n", error.what());
        if (error.what() != std::string("beta2 is 1, expected a number from 0 to below 1")) return 1;
    }

    network.save(arguments[2]);
    const Network copy(engine.get(), arguments[2]);
    auto y = network.forward(x, image);
    std::vector<std::vector<float>> found(3);
    std::vector<std::thread> threads;
    for (auto &result : found) threads.emplace_back([&] { result = copy.forward(x, image); });
    for (auto &thread : threads) thread.join();
    for (const auto &result : found) {
        if (result.size() != y.size()) return 1;
        for (size_t i = 0; i < y.size(); i++) {
            if (std::fabs(result[i] - y[i]) > 1e-5f) return 1;
        }
    }
    std::printf("the saved model gives the same\n");

    try {
        Network missing(engine.get(), "no such file.safetensors");
        return 1;
    } catch (const std::runtime_error &error) {
        std::printf("as it should be: %s\n", error.what());
    }
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
