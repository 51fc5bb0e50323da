package shop;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.cloud.context.config.annotation.RefreshScope;
import org.springframework.stereotype.Component;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@SpringBootApplication
public class Product {

    /** Bound again as a whole after a refresh, so that no request sees half of a change. */
    @Component
    @RefreshScope
    @ConfigurationProperties("catalogue")
    static class Catalogue {
        private int discountPercent;

        public int getDiscountPercent() {
            return discountPercent;
        }

        public void setDiscountPercent(int discountPercent) {
            this.discountPercent = discountPercent;
        }
    }

    @RestController
    record Discount(Catalogue catalogue) {
        @GetMapping("/discount")
        String discount() {
            return catalogue.getDiscountPercent() + " % off";
        }
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Product.class, arguments);
    }
}
