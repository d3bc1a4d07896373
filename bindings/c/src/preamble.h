// znn: training and inference of 3D convolutional networks on many-core CPUs.
//
// Conventions
//   Sizes       are in the order z, y, x; x is contiguous in memory. A 2D image has one voxel along z.
//   Arrays      are 32-bit floats, aligned to 4 bytes. They belong to the caller, need not live longer than the call, and
//               must have the lengths that the plan tells; those written must not overlap any other array of the call.
//   Weights     are [c_out][c_in][kz][ky][kx], applied as a cross-correlation.
//   Handles     are made by *_new or *_load and ended by the function *_free of their kind, once; NULL is ignored there.
//               Plans and networks keep their engine's threads alive: handles may be freed in any order.
//   Errors      A function that fails returns another status than ZNN_STATUS_OK, and znn_last_error() tells why. What it
//               should have written is then undefined. NULL where an array or handle is expected is such an error.
//   Threads     Any function may be called from any thread. Calls with one handle take turns, and so do the computations
//               of one engine. A handle must not be freed while another thread uses it.
