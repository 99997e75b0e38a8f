// 2. Tensors: many numbers at once, how shapes meet, and what that does to gradients.
#include <iostream>

#include "core/ops.h"

using namespace difftensor;

int main() {
  // A tensor is numbers in a row, and a shape that says how to read them: here as 3 rows of 4.
  const Tensor marks = tensor({7, 5, 9, 3,  //
                               6, 4, 8, 2,  //
                               8, 9, 7, 4},
                              {3, 4});
  std::cout << "marks of 3 pupils in 4 tests =\n" << marks << "\n\n";

  // A reduction takes an axis away. With keepdim it stays, as 1.
  const Tensor of_test = mean(marks, 0), of_pupil = mean(marks, 1, /*keepdim=*/true);
  std::cout << "mean of each test = " << of_test << "\nmean of each pupil =\n" << of_pupil << "\n\n";

  // Shapes meet at their last axis. What is missing there, or 1, is repeated: broadcasting. So a row can be taken off
  // every row, and a column off every column, without a loop.
  std::cout << "marks (3, 4) - of_test (4) =\n" << marks - of_test << "\n";
  std::cout << "marks (3, 4) - of_pupil (3, 1) =\n" << marks - of_pupil << "\n";
  std::cout << "of_pupil (3, 1) + of_test (4) =\n" << of_pupil + of_test << "\n";
  try {
    std::cout << marks + tensor({1, 2, 3}, {3});
  } catch (const std::invalid_argument& e) {
    std::cout << "an error names the shapes: " << e.what() << "\n\n";
  }

  // What was repeated going forward is summed going back. w has 4 numbers and takes part in 12 products, so 12
  // derivatives arrive at 4 places. (Program 1 said it: whoever is used twice hears twice.)
  Tensor w = tensor({1, 2, 0, -1}, {4}).requires_grad(), b = scalar(10).requires_grad();
  const Tensor y = marks * w + b, L = sum(y);
  L.backward();
  std::cout << "L = sum(marks w + b) = " << L.item() << "\n";
  std::cout << "dL/dw = " << w.grad() << "\n    the sum of each test's marks: " << sum(marks, 0) << "\n";
  std::cout << "dL/db = " << b.grad() << "\n    a 1 from each of the 12 places where b was used\n\n";

  // A matrix product is the same in one step: y_ij = sum_k a_ik b_kj. Rows are what you have, columns what you ask.
  const Tensor weights = tensor({0.25, 1,  //
                                 0.25, 0,  //
                                 0.25, 0,  //
                                 0.25, -1},
                                {4, 2});
  std::cout << "marks (3, 4) x weights (4, 2) =\n" << matmul(marks, weights) << "\n";
  std::cout << "by broadcasting and a sum =\n" << sum(reshape(marks, {3, 4, 1}) * weights, 1) << "\n";
}
